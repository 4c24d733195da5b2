"""Do several models fit in memory together, or must they be run one after the other?

A model needs its weights in the number format they are loaded in, and the keys and values of a
conversation. An adapter chain is merged in float32, so that on a CPU it needs more while it loads.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zephyrctl import environment
from zephyrctl.errors import DataError
from zephyrctl.generation.adapters import chain_of
from zephyrctl.models import weight_files
from zephyrctl.sizes import MIB, size_words

PLANNED_SHARE = 0.9
"""Of the free memory; the rest is for what is not counted: activations, fragments, others."""
_TALKED_TOKENS = 8192
"""A chat rarely grows longer, whatever a model could read."""
_WIDTH = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True)
class Need:
    """Bytes that a model takes: `weights` and `talk` (keys and values) while it is in memory,
    `loading` on top of them until it is. `weights` is None where its files do not tell."""

    weights: int | None
    talk: int = 0
    loading: int = 0


@dataclass(frozen=True)
class Free:
    """Bytes that a model can still take, and of what; `halves` is true where `auto` is a number
    format of two bytes."""

    bytes: int
    of: str = "memory"
    halves: bool = False


@dataclass(frozen=True)
class Fit:
    """Whether models go into memory together; `needed` is None where that is not known."""

    together: bool
    needed: int | None
    free: Free

    def __str__(self) -> str:
        needed = "an unknown size" if self.needed is None else f"{size_words(self.needed)} more"
        return f"they need {needed}, and {size_words(self.free.bytes)} of {self.free.of} are free"


def fit(needs: Sequence[Need], free: Free) -> Fit:
    """Whether models that are not loaded yet go into what is `free` now, all at once."""
    if any(need.weights is None for need in needs):
        return Fit(False, None, free)
    loading = max((need.loading for need in needs), default=0)
    needed = sum((need.weights or 0) + need.talk for need in needs) + loading
    return Fit(needed <= PLANNED_SHARE * free.bytes, needed, free)


def need_of(folder: str, *, dtype: str, quantize: str = "none", free: Free) -> Need:
    """What the model in `folder` takes where `free` is measured; `dtype` as in `model.dtype`."""
    chain = chain_of(folder)
    base = Path(chain.base)
    on_gpu = free.of != "memory"
    shapes = list(weight_files.shapes(base))
    if not shapes:
        return Need(None)
    width = _WIDTH.get(dtype, 2 if free.halves else 4)
    weights = weight_bytes(shapes, width=width, quantize=quantize)
    whole = 4 * sum(math.prod(shape) for _, shape in shapes)
    loading = max(0, whole - weights) if chain.adapters and not on_gpu else 0
    return Need(weights, talk_bytes(_config(base), width=width), loading)


def weight_bytes(
    shapes: Sequence[tuple[str, weight_files.Shape]], *, width: int, quantize: str = "none"
) -> int:
    """Bytes of loaded weights; quantized are the matrices but embeddings and output head."""
    total = 0.0
    for name, shape in shapes:
        is_matrix = len(shape) == 2 and "embed" not in name and "lm_head" not in name
        small = weight_files.QUANTIZED_BYTES.get(quantize) if is_matrix else None
        total += math.prod(shape) * (width if small is None else small)
    return round(total)


def talk_bytes(config: Mapping[str, Any], *, width: int) -> int:
    """Bytes of keys and values of a long conversation; 0 where the configuration does not tell."""
    inner = config.get("text_config") or config
    try:
        heads = inner["num_attention_heads"]
        head = inner.get("head_dim") or inner["hidden_size"] // heads
        keys = (inner.get("num_key_value_heads") or heads) * head
        tokens = min(inner.get("max_position_embeddings") or _TALKED_TOKENS, _TALKED_TOKENS)
        return 2 * inner["num_hidden_layers"] * keys * width * tokens
    except (KeyError, TypeError, ZeroDivisionError):
        return 0


def free_on(device: str) -> Free:
    """What is free where `--device` puts a model."""
    gpus = environment.visible_gpus() if device == "auto" or device.startswith("cuda") else []
    index = device.partition(":")[2] or "0"
    if gpus and index.isdigit() and int(index) < len(gpus):
        gpu = gpus[int(index)]
        return Free(gpu.free_mib * MIB, "GPU memory", halves=gpu.bf16)
    return Free(environment.memory().available)


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"the model's config.json cannot be read: {error}",
            where=str(path),
            hint="copy or download the model again",
        ) from error
    return config if isinstance(config, dict) else {}
