"""Which rank failed first, and why?

When one process of several fails, the others fail after it with errors that only say that a
neighbour is gone. A rank that ends by an exception leaves a file with the time; one that the
kernel kills leaves nothing, and is found in torchrun's report.
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from zephyrctl.errors import JobFailed, ZephyrctlError, from_json, quoted
from zephyrctl.runs.store import StageDir

TAIL_LINES = 20
# Rows of the table only: the line before it speaks of a `local_rank: 0` too.
_REPORTED = re.compile(r"^\s*rank\s*:\s*(\d+).*?exitcode\s*:\s*(-?\d+)", re.DOTALL | re.MULTILINE)
# The line with which a rank's log of one attempt begins (worker._redirect_output).
_HEADING = re.compile(r"--- \w+, rank \d+, process \d+, ")
# Of a rank whose neighbours fell silent or are gone (launch/neighbours.py).
_OF_NEIGHBOURS = ("hang", "neighbour")
# Of a rank that outlived one that was killed; torchrun asks it to stop.
_ECHOES = ("internal", *_OF_NEIGHBOURS, "stopped", "terminated")
# torchrun sends these to the ranks that did not fail.
_SENT_BY_LAUNCHER = (-signal.SIGTERM,)


@dataclass(frozen=True)
class _Left:
    """The error file of one rank."""

    rank: int
    t: float
    error: ZephyrctlError


def first_failure(
    stage: StageDir, code: int, *, logs: Mapping[str, int], launcher_log: str | None = None
) -> ZephyrctlError:
    """The error of the rank that failed first.

    `code` is what the child ended with; `logs` holds the size of each log before this attempt, so
    that an older attempt's lines are not shown for this one's. `launcher_log` is torchrun's, where
    the child is torchrun and not the only rank itself.
    """
    left = _left_behind(stage)
    if launcher_log is not None and code < 0 and not left:
        return _died(stage, who="torchrun", log=launcher_log, number=-code, logs=logs)
    killed = _killed_ranks(stage, code, logs=logs)
    silent = {rank: number for rank, number in killed.items() if rank not in {f.rank for f in left}}
    if silent and (not left or left[0].error.kind in _ECHOES):
        rank, number = next(iter(silent.items()))
        who, log = f"rank {rank}", f"rank{rank}.log"
        return _died(stage, who=who, log=log, number=number, logs=logs)
    if left:
        return _with_log(left[0], stage, logs=logs)
    return _no_reason(stage, code, logs=logs, launcher_log=launcher_log or "launcher.log")


def tail(path: Path, *, start: int = 0, lines: int = TAIL_LINES) -> list[str]:
    """The last lines of a log, from byte `start` on; empty where there is none."""
    if not path.exists():
        return []
    with path.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(start if start <= size else 0, size - 65536))
        content = stream.read()
    return content.decode("utf-8", errors="replace").splitlines()[-lines:]


def _left_behind(stage: StageDir) -> list[_Left]:
    found: list[_Left] = []
    for path in stage.path.glob("error-rank*.json"):
        with suppress(OSError, ValueError, KeyError):  # torn, or not seen yet on a network disk
            record = json.loads(path.read_text(encoding="utf-8"))
            found.append(_Left(record["rank"], record["t"], from_json(record["error"])))
    # A rank that waited in vain tells of the others' end, whatever its clock says.
    return sorted(found, key=lambda left: (left.error.kind in _OF_NEIGHBOURS, left.t))


def _killed_ranks(stage: StageDir, code: int, *, logs: Mapping[str, int]) -> dict[int, int]:
    """Ranks that a signal ended, root cause first, with the signal's number."""
    if code < 0:
        return {0: -code}
    killed: dict[int, int] = {}
    # One log for each machine, all on the shared disk.
    for path in sorted(stage.logs.glob("launcher*.log")):
        for rank, number in _killed_in(path, start=logs.get(path.name, 0)).items():
            killed.setdefault(rank, number)
    return killed


def _killed_in(path: Path, *, start: int) -> dict[int, int]:
    """Ranks that a signal ended, by the report in one machine's log from byte `start` on."""
    with path.open("rb") as stream:
        stream.seek(start)
        report = stream.read().decode("utf-8", errors="replace")
    # The table lists "Other failures" first and the root cause last.
    root = report.rpartition("Root Cause")[2]
    reported = [*_REPORTED.findall(root), *_REPORTED.findall(report)]
    return {
        int(rank): -int(exit_code)
        for rank, exit_code in reported
        if int(exit_code) < 0 and int(exit_code) not in _SENT_BY_LAUNCHER
    }


def _died(
    stage: StageDir, *, who: str, log: str, number: int, logs: Mapping[str, int]
) -> JobFailed:
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    text = f"{stage.name}: {who} was killed by {name}"
    if number == signal.SIGKILL:
        text += " (most often by the kernel, when memory ran out)"
    hint = f"zephyrctl runs logs {quoted(stage.path.parent)} --stage {stage.name}"
    if who.startswith("rank "):
        hint += f" --rank {who.removeprefix('rank ')}"
    lines = tail(stage.logs / log, start=logs.get(log, 0))
    return JobFailed(_joined(text, lines), where=str(stage.logs / log), hint=hint)


def _with_log(left: _Left, stage: StageDir, *, logs: Mapping[str, int]) -> ZephyrctlError:
    """The error as its rank left it; an unexpected one with the end of that rank's log."""
    if left.error.kind != "internal":
        return left.error
    log = stage.logs / f"rank{left.rank}.log"
    lines = tail(log, start=logs.get(log.name, 0))
    return JobFailed(
        _joined(f"{stage.name}: rank {left.rank} failed: {left.error.message}", lines),
        where=str(log),
        hint=f"zephyrctl runs logs {quoted(stage.path.parent)} --stage {stage.name} "
        f"--rank {left.rank}",
    )


def _no_reason(
    stage: StageDir, code: int, *, logs: Mapping[str, int], launcher_log: str
) -> JobFailed:
    """For a process that ended before it could say anything, such as one that cannot import."""
    # Rank 0 is on machine 0.
    names = (*(["rank0.log"] if launcher_log == "launcher.log" else []), launcher_log)
    shown = (tail(stage.logs / name, start=logs.get(name, 0)) for name in names)
    lines = next(filter(None, shown), [])
    return JobFailed(
        _joined(f"{stage.name} ended with exit code {code} and left no reason", lines),
        where=str(stage.logs),
        hint=f"zephyrctl runs logs {quoted(stage.path.parent)} --stage {stage.name}",
    )


def _joined(text: str, lines: list[str]) -> str:
    said = [line for line in lines if not _HEADING.match(line)]
    return "\n".join([text, *(f"  | {line}" for line in said)])
