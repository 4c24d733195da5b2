"""What does machine 0 ask of the other machines, and what do they answer?

All of it goes through `RUN/launch` on the disk that the machines share: one file of orders that
machine 0 replaces whole, one report for each other machine, and a beat for each. Clocks of several
machines are never compared: a beat counts, and whoever watches it notes by its own clock when it
last changed.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from zephyrctl.errors import ZephyrctlError, from_json
from zephyrctl.runs.atomic import write_json
from zephyrctl.runs.digests import digest_json
from zephyrctl.runs.heartbeat import FOLDER, Heart
from zephyrctl.runs.store import Run, StageName

BEAT_S = 1.0
"""Seconds between two beats of a machine."""
_MAY_DIFFER = ("node_rank", "interface")
"""Settings of `launch` that belong to one machine."""


@dataclass(frozen=True)
class Order:
    """What machine 0 wants at the moment."""

    id: str
    """Of machine 0's command; an order of an earlier one has another."""
    seq: int
    """Counts the parts that were ordered: each stage, and each attempt at it."""
    state: Literal["wait", "run", "stop", "finished", "failed"]
    """`run`: carry out part `seq`; `stop`: end it now; `finished`, `failed`: all is over."""
    digest: str
    """Of the configuration."""
    stages: list[str]
    """What machine 0's command was asked to carry out."""
    stage: StageName | None = None
    attempt: str = ""
    """Name of the attempt, the same on all machines."""
    config: str | None = None
    """Configuration that the processes read, relative to the run; None for the run's own."""
    error: dict[str, Any] | None = None
    """What ended the command."""
    previous: dict[str, Any] | None = None
    """`id` and `error` of the command before, for a machine that missed its end."""

    @property
    def is_over(self) -> bool:
        return self.state in ("finished", "failed")

    def failure(self) -> ZephyrctlError | None:
        """The error that ended the command, or None."""
        return from_json(self.error) if self.error else None


@dataclass(frozen=True)
class Report:
    """How far another machine is."""

    id: str
    """Of the command of machine 0 that it follows."""
    node: int
    state: Literal["ready", "running", "ended", "refused", "left"]
    """`left`: it was asked to stop by its own user or cluster."""
    seq: int = 0
    """The last part that it began."""
    error: dict[str, Any] | None = None

    def failure(self) -> ZephyrctlError | None:
        """The error that ended its last part, or for which it refused, or None."""
        return from_json(self.error) if self.error else None


@dataclass
class Pulse:
    """Whether another machine's command is alive, by the changes of its beat."""

    path: Path
    _last: bytes | None = field(default=None, repr=False)
    _since: float = field(default_factory=time.monotonic, repr=False)
    changes: int = 0
    """How often the beat was seen to change; 0 may be what a dead command left behind."""

    def silent_s(self) -> float:
        """Seconds since the beat last changed, or since the watch began."""
        now = time.monotonic()
        try:
            beat = self.path.read_bytes()
        except OSError:
            beat = None
        if beat is not None and beat != self._last:
            self.changes += self._last is not None
            self._last = beat
            self._since = now
        return now - self._since

    def says(self, mark: str) -> bool:
        """Whether the last beat is of the command with this mark."""
        return self._last is not None and mark.encode() in self._last


def folder(run: Run) -> Path:
    """Where the machines of a run speak to each other."""
    return run.root / "launch"


def orders_path(run: Run) -> Path:
    """The file of machine 0's orders."""
    return folder(run) / "orders.json"


def read_order(run: Run) -> Order | None:
    """Machine 0's present order; None where there is none, or one of another version."""
    record = read_json(orders_path(run))
    try:
        return Order(**record) if record else None
    except TypeError:
        return None


def write_order(run: Run, order: Order) -> None:
    """Replace the present order."""
    write_json(orders_path(run), asdict(order))


def read_report(run: Run, node: int) -> Report | None:
    """The report of another machine; None where there is none."""
    record = read_json(report_path(run, node))
    try:
        return Report(**record) if record else None
    except TypeError:
        return None


def write_report(run: Run, report: Report) -> None:
    """Replace a machine's report."""
    write_json(report_path(run, report.node), asdict(report))


def pulse(run: Run, node: int) -> Pulse:
    """A watch on a machine's beat, from now on."""
    return Pulse(folder(run) / FOLDER / f"rank{node}")


@contextmanager
def beating(run: Run, node: int, *, mark: str = "") -> Iterator[None]:
    """Let this machine's beat go on for the time of the block, whatever its main thread does.

    `mark` tells the beat of this command from that of another one.
    """
    heart = Heart(folder(run) / FOLDER, node)
    over = threading.Event()

    def beat() -> None:
        while not over.wait(BEAT_S):
            heart.beat(f"machine {mark}")

    thread = threading.Thread(target=beat, name="machine-beat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def digest_of(resolved: Mapping[str, Any]) -> str:
    """A digest of the resolved configuration without what may differ between machines."""
    return digest_json(comparable(resolved))


def comparable(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """The resolved configuration without what may differ between machines."""
    launch = {k: v for k, v in resolved["launch"].items() if k not in _MAY_DIFFER}
    # The shared disk may be mounted at another place on each machine.
    return {**{k: v for k, v in resolved.items() if k != "output_root"}, "launch": launch}


def report_path(run: Run, node: int) -> Path:
    """The file of another machine's report."""
    return folder(run) / f"machine-{node}.json"


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object; None where the file is missing, or just being replaced on a network disk."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def written_after(path: Path, other: Path) -> bool:
    """Whether `path` was replaced later than `other`, both by the clock of the shared disk."""
    try:
        return path.stat().st_mtime_ns > other.stat().st_mtime_ns
    except OSError:
        return False
