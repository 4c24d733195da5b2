"""Can weights be loaded in 8 or 4 bits here, and how is that asked of transformers?

bitsandbytes computes on CUDA and, in its newer releases, on a CPU, where it saves memory, not time.
Adapters stay beside such a base unmerged: adding them into rounded weights would round again.
"""

from __future__ import annotations

import logging
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

from zephyrctl.errors import EnvironmentProblem, UsageError
from zephyrctl.generation.adapters import Chain, adds_up

Quantize = Literal["none", "8bit", "4bit"]
Bits = Literal["8bit", "4bit"]
_PLAIN = "--quantize none"


def arguments(bits: Bits, *, compute_dtype: str) -> dict[str, Any]:
    """Arguments of `BitsAndBytesConfig`: LLM.int8, or NF4 as QLoRA trains over it."""
    if bits == "8bit":
        return {"load_in_8bit": True}
    return {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_compute_dtype": compute_dtype,
        "bnb_4bit_use_double_quant": False,
    }


def require(bits: Bits, *, device: str) -> None:
    """EnvironmentProblem where this machine cannot do it on a `device` of this type."""
    if find_spec("bitsandbytes") is None:
        raise EnvironmentProblem(
            f"{bits[0]}-bit weights need the package bitsandbytes",
            where="chat.quantize",
            hint=f"pip install 'zephyrctl[cuda]'   or {_PLAIN}",
        )
    supported = _supported()
    if device not in supported:
        raise EnvironmentProblem(
            f"bitsandbytes does not compute on the device '{device}'",
            where="chat.quantize",
            hint=f"--device {' or '.join(sorted(supported)) or 'cuda'}   or {_PLAIN}",
        )


def _supported() -> set[str]:
    """Types of devices that the installed bitsandbytes has kernels for."""
    log = logging.getLogger("bitsandbytes")
    log.setLevel(logging.ERROR)  # it warns of every cast, at every token
    try:
        bitsandbytes = import_module("bitsandbytes")
    except Exception as error:  # its native library may be missing or built for another CUDA
        raise EnvironmentProblem(
            f"bitsandbytes cannot be loaded: {str(error).strip().splitlines()[0]}",
            where="chat.quantize",
            hint=f"pip install --force-reinstall bitsandbytes   or {_PLAIN}",
        ) from error
    # Before 0.46 the package did not say, and computed on CUDA alone.
    return set(getattr(bitsandbytes, "supported_torch_devices", {"cuda"}))


def require_sum(chain: Chain) -> None:
    """UsageError for adapters that cannot be at work side by side."""
    if not adds_up(chain):
        raise UsageError(
            "these adapters do not add up (DoRA, or whole modules trained beside them), so they "
            "cannot stand unmerged on a quantized base",
            where=str(chain.adapters[-1]),
            hint=f"zephyrctl export merged {chain.adapters[-1]} --out merged, then "
            "zephyrctl chat ./merged --quantize 4bit",
        )
