"""Is a stage's process still doing something?

Each rank keeps one small file, `heartbeat/rankN`: which process it is, what it is doing, how often
it got on, and when it last did (seconds since the epoch, from the clock of its own host). The
supervisor reads them; a rank whose work cannot be counted (loading, writing, publishing) says that
it rests, and is not judged meanwhile.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

FOLDER = "heartbeat"
_WIDTH = 160
"""Bytes of a record, which is overwritten in place: readers never see half of a longer one."""


@dataclass(frozen=True)
class Beat:
    """The last sign of life of one rank."""

    rank: int
    pid: int
    host: str
    doing: str
    """`steps`, `answers`, `rows`: work that is counted; `resting: …`: what cannot be."""
    count: int
    t: float
    """Seconds since the epoch."""

    @property
    def rests(self) -> bool:
        return self.doing.startswith("resting")


class Heart:
    """Writes one rank's beats. Before `install` was called in a process, `beat` does nothing."""

    def __init__(self, folder: Path, rank: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._rank = rank
        self._count = 0
        self._doing = "resting: start"
        self._host = os.uname().nodename
        path = folder / f"rank{rank}"
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._write()

    def beat(self, doing: str) -> None:
        """One unit of work is done."""
        self._count += 1
        self._doing = doing
        self._write()

    def rest(self, why: str) -> None:
        """Nothing more is counted."""
        self._doing = f"resting: {why}"
        self._write()

    @contextmanager
    def resting(self, why: str) -> Iterator[None]:
        """Work that cannot be counted, such as writing a checkpoint."""
        before = self._doing
        self.rest(why)
        try:
            yield
        finally:
            self._doing = before
            self._write()

    def _write(self) -> None:
        record = json.dumps(
            [self._rank, os.getpid(), self._host[:40], self._doing[:40], self._count, time.time()]
        )
        # A full disk must not end a training: the beat is then late, no more.
        with suppress(OSError):
            os.pwrite(self._descriptor, record.ljust(_WIDTH).encode() + b"\n", 0)


_heart: Heart | None = None


def install(stage_folder: Path, *, rank: int) -> None:
    """Keep this process's heartbeat under the folder of its stage."""
    global _heart
    _heart = Heart(stage_folder / FOLDER, rank)


def beat(doing: str) -> None:
    """This process got on; `doing` is the kind of work in one word."""
    if _heart is not None:
        _heart.beat(doing)


@contextmanager
def resting(why: str) -> Iterator[None]:
    """For the time of work that cannot be counted."""
    if _heart is None:
        yield
        return
    with _heart.resting(why):
        yield


def rest(why: str) -> None:
    """From now on: what this process still does, such as ending, cannot be counted."""
    if _heart is not None:
        _heart.rest(why)


def read(stage_folder: Path) -> list[Beat]:
    """The last beat of each rank; a file that cannot be read is left out."""
    found: list[Beat] = []
    for path in sorted((stage_folder / FOLDER).glob("rank*")):
        try:
            found.append(Beat(*json.loads(path.read_bytes())))
        except (OSError, ValueError, TypeError):
            continue
    return found


def clear(stage_folder: Path) -> None:
    """Forget the beats of an earlier attempt."""
    for path in (stage_folder / FOLDER).glob("rank*"):
        path.unlink(missing_ok=True)
