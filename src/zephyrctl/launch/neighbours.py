"""Does this error only say that another process or machine fell silent?

A process that waits for its neighbours in a collective operation learns of their end by a lost
connection or a time-out. Neither is its own failure: a lost connection means that the cause is
elsewhere, a time-out that nobody failed and yet nothing went on, which is a hang.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from zephyrctl.errors import JobHung, NeighbourLost, ZephyrctlError, quoted
from zephyrctl.runs.store import StageDir

if TYPE_CHECKING:
    from zephyrctl.launch.plan import LaunchPlan

_WAITED = re.compile(
    r"Timed out waiting \d+ ?ms for (?:recv|send|unbound)|Application timeout caused pair closure"
    r"|collective operation timeout|Socket Timeout|wait timeout after \d+ms",
    re.IGNORECASE,
)
"""gloo's, NCCL's and the store's words for a time-out (torch 2.13)."""
_LOST = re.compile(
    r"Connection (?:closed|reset) by peer|Connection was likely closed|Broken pipe"
    r"|remote process exited|recvValue failed|sendBytes failed|failed to (?:recv|send|connect)"
    r"|\[rank\d+\]: Socket|connectFullMesh",
    re.IGNORECASE,
)
"""gloo's, NCCL's and the store's words for a neighbour that is gone (torch 2.13)."""
_OF_GROUPS = ("RuntimeError", "DistBackendError", "DistNetworkError", "DistError", "DistStoreError")
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


def lost_connection(error: BaseException) -> bool:
    """Whether the exception, or one that it came from, is a connection that another process of the
    job has closed."""
    seen: BaseException | None = error
    while seen is not None:
        if type(seen).__name__ in _OF_GROUPS and _LOST.search(str(seen)):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def loss_of(stage: StageDir, *, rank: int) -> NeighbourLost:
    """The error of a rank whose neighbours are gone."""
    return NeighbourLost(
        f"{stage.name}: rank {rank} lost its connection to the other processes",
        where=str(stage.logs / f"rank{rank}.log"),
        hint=f"the cause is in another one: zephyrctl runs logs {quoted(stage.path.parent)} "
        f"--stage {stage.name}",
    )


def hang_of(error: BaseException, stage: StageDir, *, rank: int) -> JobHung:
    """The error of a rank that waited for the others until its time was up."""
    first = str(error).strip().splitlines()
    return JobHung(
        f"{stage.name}: rank {rank} waited in vain for the other processes"
        + (f" ({first[0][:200]})" if first else ""),
        where=str(stage.logs / f"rank{rank}.log"),
        hint=f"zephyrctl runs logs {quoted(stage.path.parent)} --stage {stage.name} --rank {rank}",
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
