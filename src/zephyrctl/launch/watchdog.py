"""Do the processes of a training stage still get on, and where do they stand if not?

Training is synchronous: a rank that hangs silences the others within a step. So the job is judged
and not the rank: it hangs where no rank showed a sign of life for longer than what is believed.

- A rank that counts steps is believed for `launch.hang_after_s`, or for ten times its usual step
  where that is more.
- A rank that rests (loading, sampling, writing) is believed ten times as long, at least ten
  minutes, and so are those that wait for it; so is everybody before the second sign of life: a
  model is loaded and the first step compiled until then. There is no other limit for the start; a
  model that takes longer to load needs a larger `launch.hang_after_s`.
- A rank that only waits for others is no reason to be patient.
- Time in which this process itself stood still (a suspended job) does not count.

The process group's own timeouts are longer (training/processes.py), so that the stacks of all are
kept before any rank ends by one.
"""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from zephyrctl.errors import JobHung
from zephyrctl.runs import heartbeat
from zephyrctl.runs.heartbeat import Beat
from zephyrctl.runs.metrics import read_stream
from zephyrctl.runs.store import StageDir

LOOK_S = 0.5
"""Seconds between two looks at the heartbeats."""
USUAL_STEPS = 20
"""So many last steps say what is usual."""
FACTOR = 10
"""So many usual steps are waited for; a rest is believed so many times longer than a step."""
LEAST_REST_S = 600.0
"""No rest is taken for a hang before: a limit of seconds, as in a test, must not end a load."""
_STACKS_S = 2.0
_LONGEST_GAP_S = 5.0
"""Between two looks; what is beyond it, this process slept."""
_COUNTED = ("steps", "passes")
"""Work whose signs of life come at a usual pace."""
_WAITING = "resting: waiting"
"""What a rank does that waits for another one's work (training/processes.py)."""
_COLLECTIVE = "torch/distributed/"
"""In the stack of a rank that waits for the others."""


@dataclass(frozen=True)
class Pulse:
    """What is known of one rank; times by a clock that runs only while somebody looks."""

    beat: Beat
    since: float
    """When its count or what it does changed last."""
    counted: float
    """When its count changed last."""
    steps: tuple[float, ...] = ()
    """Seconds of its last steps."""


@dataclass(frozen=True)
class Hang:
    """No rank got on for `silence` seconds, which is more than `limit`."""

    silence: float
    limit: float
    behind: tuple[Beat, ...]
    """The ranks that got least far."""


def observe(pulses: Mapping[int, Pulse], beats: Iterable[Beat], *, now: float) -> dict[int, Pulse]:
    """The pulses after a look at `now`, seconds of any steady clock."""
    seen = dict(pulses)
    for beat in beats:
        before = seen.get(beat.rank)
        if before is None or before.beat.pid != beat.pid:
            seen[beat.rank] = Pulse(beat, since=now, counted=now)
        elif (before.beat.count, before.beat.doing) != (beat.count, beat.doing):
            seen[beat.rank] = _moved(before, beat, now=now)
    return seen


def find_hang(pulses: Mapping[int, Pulse], *, now: float, hang_after_s: float) -> Hang | None:
    """The hang that the pulses show, or None."""
    if not pulses:
        return None
    silence = now - max(pulse.since for pulse in pulses.values())
    limit = patience(pulses.values(), hang_after_s=hang_after_s)
    if silence <= limit:
        return None
    least = min(pulse.beat.count for pulse in pulses.values())
    behind = tuple(p.beat for _, p in sorted(pulses.items()) if p.beat.count == least)
    return Hang(silence, limit, behind)


def patience(pulses: Iterable[Pulse], *, hang_after_s: float) -> float:
    """Seconds of silence that are believed."""
    known = list(pulses)
    usual = statistics.median(s for pulse in known for s in pulse.steps or (0.0,))
    limit = max(hang_after_s, FACTOR * usual)
    if all(p.beat.count >= 2 and (not p.beat.rests or p.beat.doing == _WAITING) for p in known):
        return limit
    return max(FACTOR * hang_after_s, limit, LEAST_REST_S)


class Watchdog:
    """Looks at the heartbeats of one attempt of a stage from time to time."""

    def __init__(
        self,
        stage: StageDir,
        *,
        hang_after_s: float,
        is_ours: Callable[[int], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`is_ours` says of a process id whether it belongs to this launch on this machine."""
        self._stage = stage
        self._hang_after_s = hang_after_s
        self._is_ours = is_ours
        self._clock = clock
        self._looked = clock()
        self._watched = 0.0
        self._pulses: dict[int, Pulse] = {}
        self._alive: set[int] = set()
        """Processes of this launch on this machine that were alive at some look."""

    def look(self) -> Hang | None:
        """The hang that there is, or None; cheap enough to be called at every poll."""
        gap = self._clock() - self._looked
        if gap < LOOK_S:
            return None
        self._looked += gap
        self._watched += min(gap, _LONGEST_GAP_S)
        beats = heartbeat.read(self._stage.path)
        self._pulses = observe(self._pulses, beats, now=self._watched)
        alive = {beat.pid for beat in beats if self._is_ours(beat.pid)}
        ended, self._alive = self._alive - alive, self._alive | alive
        found = find_hang(self._pulses, now=self._watched, hang_after_s=self._hang_after_s)
        # Who started the ranks ends what is left after a failure. What is left after a good end,
        # such as the rank that publishes, is believed as long as a rest.
        longest = max(FACTOR * self._hang_after_s, LEAST_REST_S) if ended else 0.0
        return found if found is not None and found.silence > longest else None

    def error(self, hang: Hang) -> JobHung:
        """Let every rank of this machine write down where it stands, and say what is known."""
        pids = {p.beat.rank: p.beat.pid for p in self._pulses.values()}
        ours = {rank: pid for rank, pid in pids.items() if self._is_ours(pid)}
        stacks = dump_stacks(self._stage, ours)
        return describe(hang, self._stage, stacks=stacks)


def stacks_path(stage: StageDir, rank: int) -> Path:
    """Where a rank writes its stack when it is asked to (SIGUSR2)."""
    return stage.logs / f"stacks-rank{rank}.txt"


def dump_stacks(stage: StageDir, pids: Mapping[int, int]) -> dict[int, Path]:
    """Ask ranks for their stacks; returns the files of those that answered within two seconds."""
    paths = {rank: stacks_path(stage, rank) for rank in pids}
    before = {rank: _size(path) for rank, path in paths.items()}
    for pid in pids.values():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGUSR2)
    sizes = dict(before)
    deadline = time.monotonic() + _STACKS_S
    while time.monotonic() < deadline:
        time.sleep(0.1)
        latest = {rank: _size(path) for rank, path in paths.items()}
        if latest == sizes and all(latest[rank] > before[rank] for rank in latest):
            break
        sizes = latest
    return {rank: path for rank, path in paths.items() if _size(path) > before[rank]}


def describe(hang: Hang, stage: StageDir, *, stacks: Mapping[int, Path]) -> JobHung:
    """The error: which ranks did nothing, for how long, how far the stage got, where they stand."""
    ranks = [beat.rank for beat in hang.behind]
    alone = _not_waiting(stacks)
    if alone and set(alone) <= set(ranks):
        ranks = alone  # the others got as far, and wait for these
    doing = next(beat.doing for beat in hang.behind if beat.rank == ranks[0])
    named = f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {', '.join(map(str, ranks))}"
    text = (
        f"{stage.name} hangs: {named} did nothing for {hang.silence:.0f} s "
        f"(doing: {doing.removeprefix('resting: ')}; {_last_step(stage)})"
    )
    if not stacks:
        text += "; no rank said where it stands"
    stands = stage.resumable_work()
    way = f"--set launch.hang_after_s={round(2 * hang.silence)} where nothing hung"
    hint = f"the same command goes on: {stands}; {way}" if stands else way
    where = ", ".join(str(path) for path in stacks.values()) or str(stage.logs)
    return JobHung(text, where=where, hint=hint)


def _last_step(stage: StageDir) -> str:
    records, _ = read_stream(stage.metrics_path)
    steps = [r for r in records if r.get("kind") == "metrics" and r.get("split") == "train"]
    return f"last record: step {steps[-1]['step']} of {steps[-1]['total']}" if steps else "no step"


def _moved(before: Pulse, beat: Beat, *, now: float) -> Pulse:
    made = beat.count - before.beat.count
    if made <= 0:
        return replace(before, beat=beat, since=now)
    steps = before.steps
    if beat.doing in _COUNTED and before.beat.doing in _COUNTED and before.beat.count > 0:
        # A rest or an evaluation in between is part of no step's usual time.
        took = (now - max(before.since, before.counted)) / made
        steps = (*steps, took)[-USUAL_STEPS:]
    return Pulse(beat, since=now, counted=now, steps=steps)


def _not_waiting(stacks: Mapping[int, Path]) -> list[int]:
    """Ranks that wait for nobody, where at least one other does; from their last stacks."""
    waits = {rank: _waits(path) for rank, path in stacks.items()}
    return sorted(rank for rank, does in waits.items() if not does) if any(waits.values()) else []


def _waits(path: Path) -> bool:
    """Whether the main thread, the last in the file, stands in a collective operation."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return _COLLECTIVE in text.rpartition("(most recent call first):")[2].replace("\\", "/")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def remove_empty(stage: StageDir) -> None:
    """Remove the files of ranks that were never asked for their stack."""
    for path in stage.logs.glob("stacks-rank*.txt"):
        if _size(path) == 0:
            path.unlink(missing_ok=True)
