"""On which machine was a stage done, in words?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from zephyrctl.sizes import size_words


def device_words(hardware: Mapping[str, Any], *, world_size: int | None = None) -> str:
    """`8×NVIDIA H100 80GB HBM3`, or `CPU, 2 cores`; the number of processes where it differs."""
    gpus = Counter(str(gpu.get("name", "GPU")) for gpu in hardware.get("gpus") or [])
    if gpus:
        words = ", ".join(f"{n}×{name}" if n > 1 else name for name, n in gpus.items())
        units = sum(gpus.values())
    else:
        cores = hardware.get("cpu_cores")
        words, units = f"CPU, {cores} cores" if cores else "CPU", 1
    if world_size is not None and world_size != units:
        words += f", {world_size} process{'es' if world_size != 1 else ''}"
    return words


def memory_words(hardware: Mapping[str, Any]) -> str:
    """Main memory, or nothing where it is unknown."""
    size = hardware.get("memory_bytes")
    return size_words(size) if size else ""
