"""Which of the machines is this one, and where do they meet?

A cluster says so in the environment of each of its processes, the user by flags or settings.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from zephyrctl.config.schema.launch import Launch
from zephyrctl.errors import ConfigError, EnvironmentProblem, UsageError

PORT = 29400
"""Where machines meet that nobody shares with us."""
RENDEZVOUS = "launch.rendezvous"
"""The setting that names the address of machine 0."""
_SLURM_PORTS = (20000, 20000)
"""First port and number of ports: jobs that share a machine must not meet at the same one."""
_NODE_RANK = "ZEPHYRCTL_LAUNCH__NODE_RANK"
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]")


@dataclass(frozen=True)
class Place:
    """One machine among those of a launch."""

    rank: int
    rendezvous: str | None
    """`host:port` of machine 0; None where there is one machine."""
    attempt: str
    """Name of this start, the same on all machines."""


def place_here(
    settings: Launch,
    env: Mapping[str, str],
    *,
    rank: int | None = None,
    rendezvous: str | None = None,
    attempt: str | None = None,
) -> Place:
    """This machine's place: as it is given, else as Slurm or SkyPilot says, else by the settings.

    An address in the settings goes before a cluster's: it is there because the cluster's names do
    not resolve. ConfigError where nothing tells.
    """
    if settings.nodes == 1:
        return Place(0, None, attempt or "alone")
    found = _by_slurm(env) or _by_skypilot(env)
    if rank is None:
        rank = found.rank if found else settings.node_rank
    rendezvous = rendezvous or settings.rendezvous or (found.rendezvous if found else None)
    checked = checked_rank(settings, rank)
    if rendezvous is None:
        raise no_rendezvous(settings)
    name = attempt or (found.attempt if found else "attempt")
    return Place(checked, rendezvous, _NOT_IN_A_NAME.sub("-", name))


def checked_rank(settings: Launch, rank: int | None) -> int:
    """The number of this machine; ConfigError where it is missing or too high."""
    if rank is None:
        raise ConfigError(
            f"launch.nodes is {settings.nodes}, and nothing says which of them this machine is",
            where="launch.node_rank",
            hint=f"put {_NODE_RANK}=0 before the command on the first machine, =1 on the next",
        )
    if not 0 <= rank < settings.nodes:
        raise ConfigError(
            f"launch.node_rank {rank}: {settings.nodes} machines are numbered 0 to "
            f"{settings.nodes - 1}",
            where="launch.node_rank",
            hint=f"{_NODE_RANK}=0, or --set launch.nodes={max(rank, 0) + 1} on every machine",
        )
    return rank


def no_rendezvous(settings: Launch) -> ConfigError:
    """The error of machines that nobody told where to meet."""
    return ConfigError(
        f"{settings.nodes} machines need an address to meet at: one of machine 0",
        where=RENDEZVOUS,
        hint=f"--set launch.rendezvous=HOST:{PORT} on every machine",
    )


def own_address(rendezvous: str) -> str:
    """The address of this machine on the way to machine 0; nothing is sent.

    torchrun would take the machine's own name, which the others often cannot resolve.
    """
    host, _, port = rendezvous.rpartition(":")
    try:
        family, _, _, _, there = socket.getaddrinfo(host, int(port), type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(there)
            return str(probe.getsockname()[0])
    except OSError as error:
        raise EnvironmentProblem(
            f"machine 0 cannot be reached at {rendezvous}: {error.strerror or error}",
            where=RENDEZVOUS,
            hint=f"ping {host}, or name another: --set launch.rendezvous=ADDRESS:{port}",
        ) from None


def first_host(nodes: str) -> str:
    """The first host of Slurm's notation: `gpu[003-007,9],login1` begins with `gpu003`.

    Written here because `scontrol show hostnames` is often missing inside a container.
    """
    depth = 0
    for index, letter in enumerate(nodes):
        depth += (letter == "[") - (letter == "]")
        if letter == "," and depth == 0:
            nodes = nodes[:index]
            break
    return re.sub(r"\[([^\],-]*)[^\]]*\]", r"\1", nodes)


def _by_slurm(env: Mapping[str, str]) -> Place | None:
    """The place that srun gives one of its processes."""
    nodes = env.get("SLURM_STEP_NODELIST") or env.get("SLURM_JOB_NODELIST")
    rank = env.get("SLURM_NODEID", env.get("SLURM_PROCID", ""))
    job = env.get("SLURM_JOB_ID", "")
    if not (nodes and rank.isdigit() and job.isdigit()):
        return None
    first, count = _SLURM_PORTS
    start = f"{env.get('SLURM_RESTART_COUNT', '0')}.{env.get('SLURM_STEP_ID', '0')}"
    where = f"{first_host(nodes)}:{first + int(job) % count}"
    return Place(int(rank), where, f"slurm-{job}.{start}")


def _by_skypilot(env: Mapping[str, str]) -> Place | None:
    """The place that SkyPilot gives each machine of a task."""
    addresses = env.get("SKYPILOT_NODE_IPS", "").split()
    rank = env.get("SKYPILOT_NODE_RANK", "")
    if not (addresses and rank.isdigit()):
        return None
    return Place(int(rank), f"{addresses[0]}:{PORT}", env.get("SKYPILOT_TASK_ID", "skypilot"))


def parse_rendezvous(text: str) -> str:
    """`text` where it is `host:port`; UsageError otherwise."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,253}:[0-9]{1,5}", text):
        raise UsageError(f"--rendezvous takes HOST:PORT, not '{text}'")
    return text
