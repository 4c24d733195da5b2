"""Does this error only say that another process or machine fell silent?

A process that waits for its neighbours in a collective operation learns of their end by a lost
connection or a time-out. Neither is its own failure: a lost connection means that the cause is
elsewhere, a time-out that nobody failed and yet nothing went on, which is a hang.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from zephyrctl.errors import JobHung, ZephyrctlError
from zephyrctl.runs.store import StageDir

if TYPE_CHECKING:
    from zephyrctl.launch.plan import LaunchPlan

_WAITED = re.compile(
    r"Timed out waiting \d+ ?ms for (?:recv|send|unbound)|Application timeout caused pair closure"
    r"|collective operation timeout|Socket Timeout|wait timeout after \d+ms",
    re.IGNORECASE,
)
"""gloo's, NCCL's and the store's words for a time-out (torch 2.13)."""
_APART = re.compile(
    r"Rendezvous(?:Connection|Timeout|Closed|State)?Error|DistNetworkError|DistStoreError"
)
"""torchrun's errors where its agents did not find, or lost, each other."""


def waited_in_vain(error: BaseException) -> bool:
    """Whether the exception, or one that it came from, is a time-out of a collective operation."""
    seen: BaseException | None = error
    while seen is not None:
        if _WAITED.search(str(seen)):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def hang_of(error: BaseException, stage: StageDir, *, rank: int) -> JobHung:
    """The error of a rank that waited for the others until its time was up."""
    first = str(error).strip().splitlines()
    return JobHung(
        f"{stage.name}: rank {rank} waited in vain for the other processes"
        + (f" ({first[0][:200]})" if first else ""),
        where=str(stage.logs / f"rank{rank}.log"),
        hint=f"zephyrctl runs logs {stage.path.parent} --stage {stage.name} --rank {rank}",
    )


def did_not_meet(
    stage: StageDir, plan: LaunchPlan, error: ZephyrctlError, *, start: int
) -> JobHung | None:
    """The error for agents of several machines that did not find or lost each other; None where
    a process of the stage gave a reason of its own.

    `start` is the size of this machine's launcher log before the attempt.
    """
    if plan.nodes == 1 or error.kind != "job" or any(stage.path.glob("error-rank*.json")):
        return None
    said = _from(plan.launcher_log, start)
    if "Root Cause" in said or not _APART.search(said):
        return None
    lines = [line.strip() for line in said.splitlines() if _APART.search(line)]
    return JobHung(
        f"{stage.name}: machine {plan.node} lost the other machines, or never found them"
        f" ({lines[-1][:200]})",
        where=str(plan.launcher_log),
        hint="check launch.rendezvous, launch.interface and the network between the machines",
    )


def _from(path: Path, start: int) -> str:
    if not path.exists():
        return ""
    with path.open("rb") as stream:
        stream.seek(start)
        return stream.read().decode("utf-8", errors="replace")
