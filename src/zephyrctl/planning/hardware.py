"""What can the stated or detected machine do: memory and speed of its devices?"""

from __future__ import annotations

import re
from dataclasses import dataclass

from zephyrctl.environment import Gpu, Memory
from zephyrctl.errors import UsageError
from zephyrctl.planning.memory import CPU_OVERHEAD, GPU_OVERHEAD
from zephyrctl.registry import did_you_mean
from zephyrctl.sizes import GIB, MIB


@dataclass(frozen=True)
class Device:
    """One kind of device; `count` of them work together, each with `memory` bytes.

    `peak` is the dense bfloat16 rate in FLOP/s from the vendor's data sheet (without sparsity);
    None where it is not known.
    """

    label: str
    count: int
    memory: int
    peak: float | None
    on_gpu: bool
    bf16: bool
    overhead: float = GPU_OVERHEAD
    """Bytes of a process that no tensor holds."""


@dataclass(frozen=True)
class _Model:
    gib: float
    teraflops: float
    pattern: str
    bf16: bool = True


_GPUS: dict[str, _Model] = {
    "b200-180g": _Model(178.0, 2250, r"B200"),
    "h200-141g": _Model(139.8, 989, r"H200"),
    "h100-80g": _Model(79.1, 989, r"H100"),
    "a100-80g": _Model(79.1, 312, r"A100.*80G"),
    "a100-40g": _Model(39.4, 312, r"A100"),
    "l40s-48g": _Model(44.4, 362, r"L40S"),
    "a6000-48g": _Model(47.5, 155, r"RTX A6000"),
    "rtx5090-32g": _Model(31.4, 209, r"RTX 5090"),
    "rtx4090-24g": _Model(23.5, 165, r"RTX 4090"),
    "rtx3090-24g": _Model(23.6, 71, r"RTX 3090"),
    "a10g-24g": _Model(22.1, 70, r"A10G?\b"),
    "l4-24g": _Model(22.0, 121, r"L4\b"),
    "v100-32g": _Model(31.7, 125, r"V100", bf16=False),
    "t4-16g": _Model(14.6, 65, r"T4\b", bf16=False),
}
"""Memory that a program can have (nvidia-smi's total) and the data sheets' dense rate."""


def names() -> list[str]:
    """The values of `--gpu`."""
    return list(_GPUS)


def stated(name: str, *, count: int) -> Device:
    """`count` GPUs of the kind called `name`; UsageError with the nearest name otherwise."""
    model = _GPUS.get(name.lower())
    if model is None:
        raise UsageError(
            f"unknown GPU '{name}'{did_you_mean(name.lower(), _GPUS)}",
            where="--gpu",
            hint=f"known: {', '.join(_GPUS)}",
        )
    size = round(model.gib * GIB)
    return Device(name.lower(), count, size, model.teraflops * 1e12, True, model.bf16)


def detected(gpus: list[Gpu]) -> Device:
    """The GPUs of this machine as one kind: the smallest memory among them counts."""
    smallest = min(gpus, key=lambda gpu: gpu.memory_mib)
    model = next((m for m in _GPUS.values() if re.search(m.pattern, smallest.name)), None)
    peak = model.teraflops * 1e12 if model else None
    size = smallest.memory_mib * MIB
    return Device(smallest.name, len(gpus), size, peak, True, smallest.bf16)


def name_of(label: str) -> str:
    """The name of `--gpu` for what a GPU calls itself; its own name where none is known."""
    return next((name for name, m in _GPUS.items() if re.search(m.pattern, label)), label)


def cpu(found: Memory, *, processes: int, flops: float | None) -> Device:
    """This machine's CPU, shared by `processes`; `flops` is a measured float32 rate, if any."""
    share = found.available // processes
    rate = flops / processes if flops else None
    return Device("CPU", processes, share, rate, False, False, CPU_OVERHEAD)
