"""Which Slurm is here, and which partitions has it?"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass

from zephyrctl.launch.slurm.commands import run
from zephyrctl.terminal import safe

_PATIENCE_S = 10.0


@dataclass(frozen=True)
class Partition:
    """One partition, as `sinfo` shows it."""

    name: str
    default: bool
    up: bool
    nodes: int
    gpus: str
    """Such as `gpu:8`; empty without any."""

    def in_words(self) -> str:
        """`gpu (default, 4 nodes, gpu:8)`."""
        facts = [
            *(["default"] if self.default else []),
            *([] if self.up else ["not up"]),
            f"{self.nodes} node{'' if self.nodes == 1 else 's'}",
            *([self.gpus] if self.gpus else []),
        ]
        return f"{self.name} ({', '.join(facts)})"


@dataclass(frozen=True)
class Cluster:
    """What the controller says of itself."""

    version: str
    partitions: tuple[Partition, ...]


def is_here() -> bool:
    """Whether jobs can be submitted from this machine, as far as the programs go."""
    return shutil.which("sbatch") is not None


def ask() -> Cluster | str:
    """The cluster that sbatch would submit to, or why it does not answer."""
    config = run(["scontrol", "show", "config"], patience_s=_PATIENCE_S)
    if config.returncode != 0:
        lines = safe(config.stderr or config.stdout).strip().splitlines()
        return lines[-1] if lines else f"scontrol ended with exit code {config.returncode}"
    version = re.search(r"^SLURM_VERSION\s*=\s*(\S+)", config.stdout, re.MULTILINE)
    words = ["sinfo", "--noheader", "--format=%R|%P|%a|%D|%G"]
    shown = run(words, patience_s=_PATIENCE_S).stdout
    return Cluster(version.group(1) if version else "unknown version", _parse(safe(shown)))


def _parse(shown: str) -> tuple[Partition, ...]:
    """One partition for each name; sinfo has a line for every kind of node in it."""
    found: dict[str, Partition] = {}
    for line in shown.splitlines():
        name, starred, state, nodes, gres = line.split("|")
        before = found.get(name)
        gpus = "" if gres == "(null)" else gres
        found[name] = Partition(
            name,
            default=starred.endswith("*"),
            up=state == "up",
            nodes=int(nodes) + (before.nodes if before else 0),
            gpus=before.gpus if before and before.gpus else gpus,
        )
    return tuple(found.values())
