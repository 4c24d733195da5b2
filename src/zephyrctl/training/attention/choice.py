"""Which kernel computes attention over documents here?

Chosen by what a layer needs, from what the machine has. The CUDA kernels need a GPU; elsewhere
the loop of `segments` computes everything.
"""

import importlib.util
import inspect
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from typing import Any, Literal

import torch

Kernel = Literal["loop", "torch", "flash_attention_2", "flash_attention_3", "flash_attention_4"]
DESCRIPTIONS: dict[Kernel, str] = {
    "loop": "a loop of SDPA",
    "torch": "torch varlen",
    "flash_attention_2": "flash attention 2",
    "flash_attention_3": "flash attention 3",
    "flash_attention_4": "flash attention 4",
}
WIDEST_HEAD = 256
"""No flash kernel computes wider heads."""
HEAD_STEP = 8
"""Flash kernels want heads of a multiple of it; only SDPA pads others."""


@dataclass(frozen=True)
class Needs:
    """What a layer asks of a kernel."""

    dtype: torch.dtype
    head: int
    """Size of a query's head."""
    value_head: int
    softcap: bool = False
    window: bool = False
    dropout: bool = False


@dataclass(frozen=True)
class Machine:
    """What there is to run a kernel: a GPU's compute capability, and what is installed."""

    capability: tuple[int, int] | None = None
    installed: frozenset[Kernel] = frozenset({"loop"})
    torch_takes: frozenset[str] = frozenset()
    """Names of the parameters of torch's `varlen_attn`."""


def choose(needs: Needs, machine: Machine) -> Kernel:
    """The fastest kernel that computes exactly what is needed; the loop computes everything."""
    half = needs.dtype in (torch.float16, torch.bfloat16)
    odd = (
        needs.head != needs.value_head
        or needs.head > WIDEST_HEAD
        or needs.head % HEAD_STEP > 0
        or needs.dropout
    )
    if machine.capability is None or machine.capability < (8, 0) or not half or odd:
        return "loop"
    bent = needs.softcap or needs.window
    windowed = "window_size" in machine.torch_takes or not needs.window
    by_speed: tuple[tuple[Kernel, bool], ...] = (
        ("flash_attention_4", machine.capability >= (10, 0) and needs.head <= 128 and not bent),
        ("flash_attention_3", machine.capability[0] == 9),
        ("torch", windowed and not needs.softcap),
        ("flash_attention_2", True),
        ("loop", True),
    )
    return next(name for name, fits in by_speed if fits and name in machine.installed)


@lru_cache
def machine_of(device: torch.device) -> Machine:
    """What this machine has for tensors on `device`."""
    if device.type != "cuda":
        return Machine()
    parameters = parameters_of_torch()
    found: dict[Kernel, bool] = {
        "loop": True,
        "torch": bool(parameters),
        "flash_attention_2": _is_distributed("flash-attn"),
        "flash_attention_3": importlib.util.find_spec("flash_attn_interface") is not None,
        "flash_attention_4": _is_distributed("flash-attn-4"),
    }
    return Machine(
        capability=torch.cuda.get_device_capability(device),
        installed=frozenset(name for name, there in found.items() if there),
        torch_takes=parameters,
    )


@lru_cache
def parameters_of_torch() -> frozenset[str]:
    """Parameters of torch's `varlen_attn`; none before torch 2.10, which does not have it."""
    if importlib.util.find_spec("torch.nn.attention.varlen") is None:
        return frozenset()
    varlen: Any = importlib.import_module("torch.nn.attention.varlen")
    return frozenset(inspect.signature(varlen.varlen_attn).parameters)


def _is_distributed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True
