"""How do tests and drills break a stage at an exact place?

`ZEPHYRCTL_FAULT=PLACE=NUMBER[@RANK]:ACTION` acts when a process meets that place for that number;
several are separated by commas. Places:

- `chunk`: a chunk of prepared data is written
- `step`: an optimizer step is done
- `saving`: a checkpoint is about to be written; `save`: it is written, and not yet renamed
- `publish`: the model is written, and not yet renamed (number 0)
- `finish`: a stage has made everything, and its manifest does not say so yet (number 0)
- `answer`, `judgment`: one is kept, counted from 1

Actions:

- `kill`, `term`, `int`, `usr1` send that signal to this process, `term2` sends SIGTERM twice
- `hang` sleeps for ever
- `nan` and `oom` are carried out by the caller: `meet` returns them

`step=7:kill` kills every rank after step 7, `step=7@1:kill` rank 1 only. With
`ZEPHYRCTL_FAULT_ONCE` naming a file, each fault acts once in a rank over all attempts, so that a
restarted process passes. Unset, which is the rule, nothing here does anything.
"""

from __future__ import annotations

import os
import re
import signal
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, cast

from zephyrctl.errors import UsageError

VARIABLE = "ZEPHYRCTL_FAULT"
ONCE = "ZEPHYRCTL_FAULT_ONCE"
Place = Literal["chunk", "step", "save", "saving", "publish", "finish", "answer", "judgment"]
Action = Literal["kill", "term", "term2", "int", "usr1", "hang", "nan", "oom"]
_FORM = re.compile(
    r"(chunk|step|save|saving|publish|finish|answer|judgment)=(\d+)(?:@(\d+))?"
    r":(kill|term2?|int|usr1|hang|nan|oom)"
)
_SIGNALS: dict[Action, tuple[signal.Signals, ...]] = {
    "kill": (signal.SIGKILL,),
    "term": (signal.SIGTERM,),
    "term2": (signal.SIGTERM, signal.SIGTERM),
    "int": (signal.SIGINT,),
    "usr1": (signal.SIGUSR1,),
}


@dataclass(frozen=True)
class Fault:
    """One planned fault; `rank` is None for all."""

    place: Place
    number: int
    rank: int | None
    action: Action
    text: str


def planned() -> tuple[Fault, ...]:
    """The faults that the environment asks for."""
    return _parsed(os.environ.get(VARIABLE, ""))


def meet(place: Place, number: int) -> Action | None:
    """Act where a fault is planned here; returns an action that the caller must carry out."""
    for fault in planned():
        if (fault.place, fault.number) != (place, number) or not _is_mine(fault):
            continue
        if _acted_before(fault):
            continue
        if fault.action == "hang":
            while True:
                time.sleep(3600)
        for wanted in _SIGNALS.get(fault.action, ()):
            os.kill(os.getpid(), wanted)
        if fault.action not in _SIGNALS:
            return fault.action
    return None


@lru_cache(maxsize=8)
def _parsed(text: str) -> tuple[Fault, ...]:
    return tuple(_parse(part.strip()) for part in text.split(",") if part.strip())


def _parse(text: str) -> Fault:
    match = _FORM.fullmatch(text)
    if match is None:
        raise UsageError(f"{VARIABLE}={text} is no fault", hint=f"{VARIABLE}=step=7:kill")
    place, number, rank, action = match.groups()
    return Fault(
        cast(Place, place),
        int(number),
        int(rank) if rank is not None else None,
        cast(Action, action),
        text,
    )


def _is_mine(fault: Fault) -> bool:
    # The process group is read at last: without torchrun there is one rank.
    return fault.rank is None or fault.rank == _rank()


def _rank() -> int:
    """This process's rank. A lone process has torchrun's variables taken away and is rank 0."""
    return int(os.environ.get("RANK", "0"))


def _acted_before(fault: Fault) -> bool:
    """Whether this rank's fault is in the file of faults that acted; else it is written there."""
    path = os.environ.get(ONCE)
    if not path:
        return False
    line = f"{fault.text} rank {_rank()}\n"
    with Path(path).open("a+", encoding="utf-8") as stream:
        stream.seek(0)
        if line in stream.readlines():
            return True
        stream.write(line)
        stream.flush()
        os.fsync(stream.fileno())
    return False
