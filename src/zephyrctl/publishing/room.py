"""Is there room for an export, on the disk and in memory, before anything of it begins?

Both follow from the headers of the base's weight files. What is written is refused where it does
not fit; memory is refused where the whole machine has less, and said where less is free.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from zephyrctl import environment
from zephyrctl.errors import DiskFull, EnvironmentProblem
from zephyrctl.generation.adapters import Chain
from zephyrctl.models import weight_files
from zephyrctl.sizes import MIB, size_words

BYTES = {
    "float32": 4.0, "float16": 2.0, "bfloat16": 2.0,
    "f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32,
}  # fmt: skip
"""Of one weight in a number format; q8_0 has a scale of two bytes for each 32."""
_BESIDE = 32 * MIB
"""Tokenizer, card and manifest."""
_PROGRAM = 512 * MIB
"""The program and its libraries, and what a forward pass over a few hundred tokens takes."""
_COPIES = 3
"""Of the largest tensor in float32: summed, rounded and written."""


@dataclass(frozen=True)
class Need:
    """Bytes that an export takes on the disk and in memory; 0 where its files do not tell."""

    disk: int = 0
    memory: int = 0


def need_of(chain: Chain, *, held: int, written: str, shard: float = 0.0) -> Need:
    """What exporting a chain takes: its weights are `held` in memory with so many bytes each, and
    `written` in a number format, by way of a copy of at most `shard` bytes."""
    sizes = [math.prod(shape) for _, shape in weight_files.shapes(Path(chain.base).expanduser())]
    if not sizes:
        return Need()
    disk = round(sum(sizes) * BYTES[written])
    adapters = sum(
        path.stat().st_size for folder in chain.adapters for path in folder.glob("*.safetensors")
    )
    memory = sum(sizes) * held + 2 * adapters + _COPIES * 4 * max(sizes) + _PROGRAM
    return Need(disk + _BESIDE, round(memory + min(shard, disk)))


def require(need: Need, out: Path, *, say: Callable[[str], None]) -> None:
    """DiskFull or EnvironmentProblem where the export cannot fit; what may be tight is said."""
    free = environment.free_disk(out)
    if need.disk > free:
        raise DiskFull(
            f"the export needs {size_words(need.disk)} on the disk, and {size_words(free)} are "
            "free; nothing was begun",
            where=str(out),
            hint="--out FOLDER_ELSEWHERE",
        )
    memory = environment.memory()
    words = f"the export takes about {size_words(need.memory)} of memory"
    if need.memory > memory.total:
        raise EnvironmentProblem(
            f"{words}, and this machine has {size_words(memory.total)}; nothing was begun",
            where=str(out),
            hint="run the same command on a machine with more memory",
        )
    if need.memory > memory.available:
        say(
            f"! {words}, and {size_words(memory.available)} are free: where the system has no "
            "swap space it may end the command"
        )


def shard_bytes(text: str) -> float:
    """The bytes of a size such as `5GB`."""
    units: Sequence[tuple[str, float]] = (("KB", 1e3), ("MB", 1e6), ("GB", 1e9))
    return next(float(text.removesuffix(unit)) * size for unit, size in units if unit in text)
