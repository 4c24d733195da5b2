"""How do answers enter and leave a batch whose keys and values are kept?

Every row of a batch ends at the same column and is padded on the left, so a row leaves by its place
and newcomers join after padding the narrower side. Legend: B rows, T columns, W sliding window.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from zephyrctl import environment
from zephyrctl.generation.kv_layer import RoomyLayer

_TAKES_VIEWS = ("cpu", "cuda")
"""Devices whose attention reads keys where they lie. Apple's has been wrong with such views."""
_BY_COLUMN = (RoomyLayer, DynamicLayer, DynamicSlidingWindowLayer)
"""Kinds of layers that hold a key and a value for each column, and nothing else."""


def new_cache(model: Any) -> Any:
    """An empty cache with the kinds of layers that the model has."""
    cache = DynamicCache(config=model.config)
    if model.device.type in _TAKES_VIEWS:
        cache.layers = [RoomyLayer() if type(x) is DynamicLayer else x for x in cache.layers]
    return cache


def takes_newcomers(cache: Any, model: Any) -> bool:
    """Whether rows can join a batch under way.

    Not where a layer keeps more than keys and values by column: recurrent states, or attention in
    chunks, which are counted from a row's own beginning.
    """
    kinds = getattr(model.config.get_text_config(), "layer_types", None) or []
    return "chunked_attention" not in kinds and all(
        type(layer) in _BY_COLUMN for layer in cache.layers
    )


def size_of(cache: Any) -> int:
    """Bytes that the keys and values of a cache take."""
    return sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers if _holds(layer))


def free_bytes(device: torch.device) -> int:
    """Memory of a device that nobody uses; of main memory what this process may still take."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return environment.memory().available


def select(cache: Any, mask: torch.Tensor, places: Sequence[int], *, trim: bool) -> torch.Tensor:
    """Keep the rows at `places`; `trim` also drops the columns that are padding for all of them.

    `mask` is (B, T), 1 where a token was read; returns that of the rows kept.
    """
    chosen = torch.tensor(places, device=mask.device)
    cache.reorder_cache(chosen)
    mask = mask[chosen]
    if not trim:
        return mask
    width = mask.shape[1] - int(mask.any(dim=0).int().argmax())
    for layer in cache.layers:
        _resize(layer, width)
    return mask[:, -width:]


def join(cache: Any, mask: torch.Tensor, newcomers: Any, their_mask: torch.Tensor) -> torch.Tensor:
    """Put the rows of another cache under those of `cache`; returns the mask (B, T) of both."""
    width = max(mask.shape[1], their_mask.shape[1])
    for layer, other in zip(cache.layers, newcomers.layers, strict=True):
        if not _holds(layer):  # a layer that reads another one's keys
            continue
        _resize(layer, width)
        _resize(other, width)
        layer.keys = torch.cat([layer.keys, other.keys])
        layer.values = torch.cat([layer.values, other.values])
    masks = [pad(each, (width - each.shape[1], 0)) for each in (mask, their_mask)]
    return torch.cat(masks)


def cut_to(cache: Any, old_ids: Sequence[int], prompt: Sequence[int]) -> int:
    """Shorten the cache of `old_ids` to what `prompt` begins with; returns how many tokens it then
    holds, 0 where it is of no use. At least the prompt's last token is left to be read."""
    if not _can_crop(cache):
        return 0
    pairs = zip(old_ids, prompt, strict=False)
    same = next((place for place, (a, b) in enumerate(pairs) if a != b), None)
    known = min(len(old_ids), len(prompt)) if same is None else same
    known = min(known, len(prompt) - 1)
    surplus = cache.get_seq_length() - known
    if known < 1 or surplus < 0 or (surplus and _forgot(cache)):
        return 0
    if surplus:
        cache.crop(-surplus)
    return known


def _resize(layer: Any, width: int) -> None:
    """Let a layer stand at `width` columns: cut or padded on the left.

    A sliding layer keeps the last W - 1 columns and counts all of them (transformers 5.23).
    """
    if not _holds(layer):
        return
    kept = width
    if layer.is_sliding:
        kept = min(width, layer.sliding_window - 1)
        layer.cumulative_length = width
    missing = kept - layer.keys.shape[-2]
    # A negative number of columns to add cuts them off; `pad` then gives a copy of the others.
    if missing:
        layer.keys = pad(layer.keys, (0, 0, missing, 0))
        layer.values = pad(layer.values, (0, 0, missing, 0))


def _holds(layer: Any) -> bool:
    keys = getattr(layer, "keys", None)
    return keys is not None and keys.numel() > 0


def _can_crop(cache: Any) -> bool:
    """Not where there are recurrent states, which hold no single token."""
    layers = getattr(cache, "layers", [])
    return bool(layers) and all(getattr(layer, "is_croppable", False) for layer in layers)


def _forgot(cache: Any) -> bool:
    """Whether a sliding layer has let go of what it read first, and so cannot go back."""
    return any(
        layer.is_sliding and layer.get_seq_length() >= layer.sliding_window
        for layer in cache.layers
    )
