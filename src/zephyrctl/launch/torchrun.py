"""With which words is torchrun asked to start a worker's processes on one machine?"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Meeting:
    """How the agents of several machines find each other."""

    backend: Literal["static", "c10d"]
    endpoint: str
    """`host:port` of machine 0."""
    rank: int
    """Which machine this is."""
    address: str | None
    """How the others reach this machine; None lets torchrun find out."""
    attempt: str
    """Name of this start, the same on all machines."""


def torchrun(
    work: tuple[str, ...],
    *,
    processes: int,
    logs: Path,
    nodes: int = 1,
    meeting: Meeting | None = None,
) -> tuple[str, ...]:
    """The command that runs `work` (a script, or `-m` and a module, and its arguments) in so many
    processes of this machine; `meeting` is needed for more than one machine."""
    return (
        sys.executable, "-u", "-m", "torch.distributed.run",
        *(_standalone() if meeting is None else _together(meeting, nodes=nodes)),
        "--nproc-per-node", str(processes),
        # Restarts inside one torchrun recovered 1 time in 11; a new one resumes exactly.
        "--max-restarts", "0",
        "--log-dir", str(logs / elastic_name(meeting.rank if meeting else 0)),
        *(["--module"] if work[0] == "-m" else []),
        # torchrun would take our --run for an abbreviation of its --run-path.
        "--", *work[work[0] == "-m":],
    )  # fmt: skip


def elastic_name(node: int) -> str:
    """The folder of torchrun's own files, one for each machine: the logs are on a shared disk."""
    return "elastic" if node == 0 else f"elastic-{node}"


def _standalone() -> tuple[str, ...]:
    # A free port of this machine; the address is given because a container's own host name often
    # does not resolve.
    return ("--standalone", "--local-addr", "127.0.0.1")


def _together(meeting: Meeting, *, nodes: int) -> tuple[str, ...]:
    host, _, port = meeting.endpoint.rpartition(":")
    # Machine 0 is reached at the address that the others are told.
    address = meeting.address or (host if meeting.rank == 0 else None)
    own = ("--local-addr", address) if address else ()
    if meeting.backend == "static":
        return (
            "--nnodes", str(nodes), "--node-rank", str(meeting.rank),
            "--master-addr", host, "--master-port", port, *own,
        )  # fmt: skip
    # torchrun compares addresses to find out who keeps the store, which fails where two machines
    # bear one name: it is told.
    is_host = "true" if meeting.rank == 0 else "false"
    return (
        "--nnodes", str(nodes), "--node-rank", str(meeting.rank),
        "--rdzv-backend", "c10d", "--rdzv-endpoint", meeting.endpoint,
        "--rdzv-id", meeting.attempt, "--rdzv-conf", f"is_host={is_host}", *own,
    )  # fmt: skip
