"""What has a stage said so far, and how long will it still take?

Follows a stage's `metrics.jsonl` and `events.jsonl` record by record. The live view, the plain
log and the HTML report all draw what stands here.
"""

from __future__ import annotations

import bisect
import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zephyrctl.runs.metrics import read_stream

RECENT_INTERVALS = 20
"""Step times behind an ETA: enough to be calm, few enough to follow a change."""

MEASURED_INTERVALS = 2000
"""Intervals in which evaluations and checkpoints are looked for; bounds the cost of a redraw."""


@dataclass
class Task:
    """A piece of work with a known or unknown end, such as tokenizing a split."""

    name: str
    unit: str
    began: float
    """When the work before it ended: the first record may already carry work, or loading."""
    started: float
    """Time of the first record, from which the rate is measured."""
    updated: float
    done: int = 0
    total: int | None = None
    done_at_start: int = 0

    @property
    def finished(self) -> bool:
        return self.total is not None and self.done >= self.total

    @property
    def rate(self) -> float | None:
        """Units per second, once there is something to measure."""
        spent, done = self.updated - self.started, self.done - self.done_at_start
        return done / spent if spent > 0 and done > 0 else None

    @property
    def remaining_s(self) -> float | None:
        """Seconds from `updated` to the end."""
        if self.total is None or self.rate is None:
            return None
        return max(0, self.total - self.done) / self.rate


@dataclass
class Series:
    """One metric of one split over the steps, strictly rising in `steps`."""

    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def add(self, step: int, value: float) -> None:
        """Append; after a resume the steps that are taken again replace what stood there."""
        while self.steps and self.steps[-1] >= step:
            self.steps.pop()
            self.values.pop()
        self.steps.append(step)
        self.values.append(value)

    @property
    def last(self) -> float:
        return self.values[-1]

    def points(self) -> list[tuple[float, float]]:
        return [(float(s), v) for s, v in zip(self.steps, self.values, strict=True)]


@dataclass
class StageStream:
    """The state of one stage, advanced by `poll`."""

    folder: Path
    step: int = 0
    """Of the last training record."""
    total: int = 0
    started: float | None = None
    updated: float | None = None
    series: dict[tuple[str, str], Series] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    notices: list[tuple[str, str]] = field(default_factory=list)
    checkpoint: dict[str, Any] | None = None
    _ticks: list[tuple[float, int]] = field(default_factory=list)
    _pauses: list[float] = field(default_factory=list)
    _restarts: list[float] = field(default_factory=list)
    _read: dict[str, tuple[int, int | None]] = field(default_factory=dict)
    """Offset and inode by file."""

    def poll(self) -> list[dict[str, Any]]:
        """Read what was written since the last call; the new records by time."""
        fresh: list[dict[str, Any]] = []
        for name in ("metrics.jsonl", "events.jsonl"):
            before, inode = self._read.get(name, (0, None))
            records, offset = read_stream(self.folder / name, offset=before)
            now = _inode(self.folder / name)
            if offset < before or (inode is not None and now != inode):
                # Cleared, or cut back to a checkpoint: what stood there no longer counts.
                self.__init__(self.folder)
                return self.poll()
            self._read[name] = (offset, now)
            fresh += records
        fresh = [record for record in fresh if isinstance(record.get("t"), int | float)]
        fresh.sort(key=lambda record: record["t"])
        for record in fresh:
            self._take(record)
        return fresh

    def get(self, name: str, *, split: str = "train") -> Series | None:
        """The series of one metric, or None where it was never reported."""
        return self.series.get((split, name))

    def remaining_s(self, *, pauses_ahead: int) -> float | None:
        """Seconds from `updated` to the last step; `pauses_ahead` evaluations and checkpoints."""
        return remaining(
            self._ticks[-MEASURED_INTERVALS:],
            self._pauses,
            self._restarts,
            total=self.total,
            pauses_ahead=pauses_ahead,
        )

    def active_task(self) -> Task | None:
        """The unfinished task that moved last."""
        open_tasks = [task for task in self.tasks.values() if not task.finished]
        return max(open_tasks, key=lambda task: task.updated, default=None)

    def _take(self, record: dict[str, Any]) -> None:
        self.updated = record["t"]
        if self.started is None:
            self.started = record["t"]
        match record.get("kind"):
            case "metrics":
                self._take_metrics(record)
            case "progress":
                self._take_progress(record)
            case "notice":
                self.notices.append((record.get("level", "info"), record["text"]))
            case "event":
                self._take_event(record)

    def _take_metrics(self, record: dict[str, Any]) -> None:
        split, step = record["split"], record["step"]
        self.total = record["total"] or self.total
        for name, value in plain_values(record["values"], split=split).items():
            self.series.setdefault((split, name), Series()).add(step, value)
        if split != "train":
            self._pauses.append(record["t"])
            return
        if self._ticks and step <= self._ticks[-1][1]:
            self._ticks.clear()  # taken up again from a checkpoint
        self._ticks.append((record["t"], step))
        self.step = step

    def _take_progress(self, record: dict[str, Any]) -> None:
        name, now = record["task"], record["t"]
        task = self.tasks.get(name)
        is_of_earlier_attempt = task is not None and task.updated < (self.started or 0.0)
        if task is None or record["done"] < task.done or is_of_earlier_attempt:
            task = Task(
                name=name,
                unit=record["unit"],
                began=min(now, max(self._last_other(name), self.started or now)),
                started=now,
                updated=now,
                done_at_start=record["done"],
            )
        self.tasks.pop(name, None)
        task.done, task.total, task.updated = record["done"], record["total"], now
        self.tasks[name] = task

    def _last_other(self, name: str) -> float:
        return max((task.updated for task in self.tasks.values() if task.name != name), default=0.0)

    def _take_event(self, record: dict[str, Any]) -> None:
        match record.get("event"):
            case "started" | "resumed":
                self._restarts.append(record["t"])
                self.started = record["t"]
            case "checkpoint":
                self.checkpoint = record
                self._pauses.append(record["t"])
            case "sample":
                self._pauses.append(record["t"])


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def plain_values(values: Mapping[str, Any], *, split: str) -> dict[str, float]:
    """The numbers of one record, without the `eval_` that trainers put before held-out metrics."""
    prefix = f"{split}_"
    return {
        name.removeprefix(prefix): float("nan") if value is None else float(value)
        for name, value in values.items()
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool))
    }


def remaining(
    ticks: Sequence[tuple[float, int]],
    pauses: Sequence[float],
    restarts: Sequence[float],
    *,
    total: int,
    pauses_ahead: int,
) -> float | None:
    """Seconds from the last of `ticks` (time, step) to step `total`; None until it is measurable.

    The median time of recent steps, times the steps ahead, plus the mean excess that an interval
    with an evaluation or checkpoint in it took over that, times the pauses ahead. The first
    interval holds warm-up and compilation and is left out as soon as others stand.
    """
    pauses, restarts = sorted(pauses), sorted(restarts)
    clean: list[float] = []
    paused: list[tuple[float, int]] = []
    for (t0, s0), (t1, s1) in itertools.pairwise(ticks):
        if s1 <= s0 or _holds(restarts, t0, t1):
            continue
        if _holds(pauses, t0, t1):
            paused.append((t1 - t0, s1 - s0))
        else:
            clean.append((t1 - t0) / (s1 - s0))
    if not clean and paused:
        clean, paused = [spent / steps for spent, steps in paused], []
    if not clean:
        return None
    recent = clean[1:][-RECENT_INTERVALS:] or clean
    step_s = statistics.median(recent)
    excess = [max(0.0, spent - steps * step_s) for spent, steps in paused]
    pause_s = statistics.fmean(excess) if excess else 0.0
    return max(0, total - ticks[-1][1]) * step_s + max(0, pauses_ahead) * pause_s


def _holds(times: Sequence[float], start: float, end: float) -> bool:
    """Whether one of the sorted `times` lies between `start` and `end`."""
    at = bisect.bisect_left(times, start)
    return at < len(times) and times[at] <= end


def pauses_ahead(*, step: int, total: int, every: Sequence[int | None]) -> int:
    """Evaluations, samples and checkpoints still to come; None in `every` means once, at the
    end. What falls on the same step is one pause."""
    if total <= step:
        return 0
    ahead: set[int] = {total}
    for interval in every:
        if interval:
            first = (step // interval + 1) * interval
            ahead |= set(range(first, total + 1, interval))
    return len(ahead)


def moving_average(values: Sequence[float]) -> list[float]:
    """Exponential moving average over about a twentieth of `values`, without the bias towards
    its start (Adam's correction); what is not finite is passed over."""
    span = max(3.0, len(values) / 20)
    weight = 1 - 2 / (span + 1)
    average, mass, smooth = 0.0, 0.0, []
    for value in values:
        if math.isfinite(value):
            average = weight * average + (1 - weight) * value
            mass = weight * mass + (1 - weight)
        smooth.append(average / mass if mass else value)
    return smooth
