"""Where do the keys and values of one more token go, without a copy of all before them?

Legend: B rows, H heads, T columns, D numbers of a head.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch
from transformers.cache_utils import DynamicLayer

_ROOM = 64
"""Columns of room at the end of a new store: what was read is copied once in so many tokens."""


class RoomyLayer(DynamicLayer):
    """transformers' layer of a cache that grows, whose `keys` and `values` (B, H, T, D) are views
    of stores with room behind them.

    Its parent copies all columns for each new one (measured: a tenth of a step of 32 rows). Whoever
    puts other tensors into `keys` and `values` (rows that leave, a cut) need know nothing of it:
    nothing else holds the stores, and the next column makes new ones.
    """

    def __init__(self) -> None:
        super().__init__()
        self._views: tuple[Any, Any] = (_nothing, _nothing)  # weak: what they show may be let go
        self._columns = 0  # of the stores

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add the new columns; returns all, as the parent does."""
        del args, kwargs
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        keys, values = self.keys, self.values
        assert keys is not None
        assert values is not None
        held = self.get_seq_length()
        end = held + key_states.shape[-2]
        is_ours = keys is self._views[0]() and values is self._views[1]()
        if not is_ours or end > self._columns:
            self._columns = end + _ROOM
            # One after the other, so that only one of them is held twice.
            keys = self.keys = _moved(keys, key_states, columns=self._columns)
            values = self.values = _moved(values, value_states, columns=self._columns)
        keys = self.keys = _shown(keys, end=end, columns=self._columns)
        values = self.values = _shown(values, end=end, columns=self._columns)
        keys[:, :, held:] = key_states
        values[:, :, held:] = value_states
        self._views = (weakref.ref(keys), weakref.ref(values))
        return keys, values


def _nothing() -> None:
    return None


def _moved(old: torch.Tensor, new: torch.Tensor, *, columns: int) -> torch.Tensor:
    """The columns of `old`, which may hold none, at the beginning of a store as wide as
    `columns`."""
    batch, heads, _, size = new.shape
    store = new.new_empty(batch, heads, columns, size)
    held = old.shape[-2] if old.numel() else 0
    if held:
        store[:, :, :held] = old
    return store[:, :, :held]


def _shown(view: torch.Tensor, *, end: int, columns: int) -> torch.Tensor:
    """The first `end` columns of the store that `view` shows from its beginning."""
    batch, heads, _, size = view.shape
    strides = (heads * columns * size, columns * size, size, 1)
    return view.as_strided((batch, heads, end, size), strides)
