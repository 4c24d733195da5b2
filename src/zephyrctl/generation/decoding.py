"""How do many answers grow together, token by token?

Rows wait until there is a place for them, are read in a pass of their own and then join those under
way; a row that ends leaves its place to the next. One loop decodes everything, so that a streamed
answer, a single one and one of a batch are the same tokens. Legend: B rows, T columns, V words.
"""

from __future__ import annotations

import gc
import inspect
import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from zephyrctl.errors import EnvironmentProblem, TrainingDiverged
from zephyrctl.generation import kv_cache
from zephyrctl.generation.choosing import adjusted, draw, repetition_penalty
from zephyrctl.generation.sampling import Sampling
from zephyrctl.runs import heartbeat
from zephyrctl.runs.signals import raise_if_stopping

_COMPACT_AT = 0.75
"""Finished rows leave the batch once the others are at most this share of it."""
_REFILL_AT = 0.25
"""Rows wait until this share of the places is free, so that several are read in one pass."""
Known = tuple[Any, int]
"""A cache, and how many of a row's first tokens it holds."""


@dataclass
class Row:
    """One answer under way. `limit` is the largest number of new tokens, `cached` how many of the
    prompt's were kept from the last turn."""

    index: int
    prompt: list[int]
    limit: int
    draws: random.Random
    tokens: list[int] = field(default_factory=list)
    stopped: bool = False
    began: float | None = None
    seconds: float = 0.0
    cached: int = 0

    @property
    def is_done(self) -> bool:
        return self.stopped or len(self.tokens) >= self.limit

    @property
    def ids(self) -> list[int]:
        """The prompt and what was answered so far."""
        return self.prompt + self.tokens


class Reader:
    """Forward passes of one model, and the choice of the tokens after them."""

    def __init__(self, model: Any, pad_id: int, *, stop_ids: frozenset[int], path: str) -> None:
        self.model = model
        self.stop_ids = stop_ids
        self._path = path
        self._pad_id = pad_id
        accepted = inspect.signature(model.forward).parameters
        self._takes_positions = "position_ids" in accepted
        self._takes_logits_to_keep = "logits_to_keep" in accepted

    def padded(self, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and mask (B, T), padded on the left so that every row ends at the same column."""
        width = max(map(len, rows))
        ids = [[self._pad_id] * (width - len(row)) + list(row) for row in rows]
        mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
        device = self.model.device
        return torch.tensor(ids, device=device), torch.tensor(mask, device=device)

    def read(self, ids: torch.Tensor, mask: torch.Tensor, cache: Any) -> torch.Tensor:
        """Logits (B, V) in float32 after the last of the new `ids` (B, T'); `mask` is (B, T)."""
        arguments: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
        if self._takes_positions:
            # Left padding: without these a row would be read at other positions than alone.
            positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
            arguments["position_ids"] = positions[:, -ids.shape[1] :]
        if self._takes_logits_to_keep:
            arguments["logits_to_keep"] = 1
        out = self.model(**arguments, past_key_values=cache, use_cache=True)
        logits = out.logits[:, -1].float()
        if torch.isnan(logits).any():
            raise TrainingDiverged(
                "the model's output is not a number", where=self._path, hint="train it again"
            )
        return logits

    def extend(self, rows: Sequence[Row], logits: torch.Tensor, sampling: Sampling) -> None:
        """Give each row that is not done its next token, from logits (B, V)."""
        settings = self.model.generation_config
        penalised = repetition_penalty(settings) != 1.0
        logits = adjusted(logits, [row.ids for row in rows] if penalised else [], settings)
        if sampling.is_greedy:
            tokens = logits.argmax(dim=-1).tolist()
        else:
            tokens = draw(logits, [row.draws.random() for row in rows], sampling).tolist()
        now = time.perf_counter()
        for row, token in zip(rows, tokens, strict=True):
            if not row.is_done:
                row.tokens.append(token)
                row.stopped = token in self.stop_ids
                row.seconds = now - (row.began or now)


class Batch:
    """Rows under way with their keys and values; `mask` is (B, T)."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.rows: list[Row] = []
        self.cache: Any = None
        self.mask: Any = None
        self.is_whole = True
        """False where a forward pass was broken off, which leaves the cache half written."""

    @property
    def alive(self) -> int:
        """Rows that are not done."""
        return sum(not row.is_done for row in self.rows)

    @property
    def takes_newcomers(self) -> bool:
        """Whether rows can be added now."""
        return not self.alive or kv_cache.takes_newcomers(self.cache, self._reader.model)

    def add(self, rows: list[Row], sampling: Sampling, *, known: Known | None = None) -> None:
        """Read new rows, choose their next tokens, and put them beside those under way."""
        now = time.perf_counter()
        cache, held = known or (kv_cache.new_cache(self._reader.model), 0)
        for row in rows:
            row.began = row.began or now
            row.cached = held
        ids, mask = self._reader.padded([row.ids for row in rows])
        self._advance(rows, ids[:, held:], mask, cache, sampling)
        self.drop_done()
        if self.rows:
            self.mask = kv_cache.join(self.cache, self.mask, cache, mask)
            self.rows = self.rows + rows
        else:
            self.rows, self.cache, self.mask = rows, cache, mask

    def step(self, sampling: Sampling) -> None:
        """One more token for every row; once many are done, they go."""
        ids = torch.tensor([[row.tokens[-1]] for row in self.rows], device=self.mask.device)
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.rows), 1)], dim=1)
        self._advance(self.rows, ids, self.mask, self.cache, sampling)
        if 0 < self.alive <= _COMPACT_AT * len(self.rows):
            self.drop_done()

    def drop_done(self) -> None:
        """Let finished rows go."""
        kept = [place for place, row in enumerate(self.rows) if not row.is_done]
        if kept and len(kept) < len(self.rows):
            trim = kv_cache.takes_newcomers(self.cache, self._reader.model)
            self.mask = kv_cache.select(self.cache, self.mask, kept, trim=trim)
        self.rows = [self.rows[place] for place in kept]

    def _advance(
        self, rows: list[Row], ids: torch.Tensor, mask: torch.Tensor, cache: Any, sampling: Sampling
    ) -> None:
        self.is_whole = False
        self._reader.extend(rows, self._reader.read(ids, mask, cache), sampling)
        self.is_whole = True


class Decoder:
    """Decodes rows, some at once."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.last: Batch | None = None
        """The rows of the last pass; a conversation's next turn begins with what they read."""
        self._most: int | None = None

    # The decorator, unlike a `with` block, lets go of the mode while the generator is suspended.
    @torch.inference_mode()
    def decode(
        self,
        rows: Sequence[Row],
        sampling: Sampling,
        *,
        at_once: int,
        reuse: bool = False,
        say: Callable[[str], None] = lambda text: None,
    ) -> Iterator[Row]:
        """Decode `rows`, begun in their order; yields each row after each of its new tokens.

        `reuse` is for a single row: what the last one read is not read again. Where the memory of
        the device is too small, half as many go on, here and in later calls, and `say` is told.
        """
        waiting = deque(rows)
        known = self._known(rows[0]) if reuse else None
        batch = self.last = Batch(self.reader)
        while waiting or batch.alive:
            raise_if_stopping()
            heartbeat.beat("tokens")
            newcomers = self._newcomers(waiting, batch, at_once)
            grown = [row for row in newcomers or batch.rows if not row.is_done]
            if self._pass(batch, newcomers, sampling, known=known):
                yield from grown
            else:
                yield from (row for row in grown if row.is_done)
                left = [row for row in [*batch.rows, *newcomers] if not row.is_done]
                waiting.extendleft(reversed(left))
                batch = self.last = Batch(self.reader)
                say(self._make_room(left, sampling))
            known = None

    def _pass(
        self, batch: Batch, newcomers: list[Row], sampling: Sampling, *, known: Known | None
    ) -> bool:
        """One forward pass; false where the device's memory was too small for it."""
        try:
            if newcomers:
                batch.add(newcomers, sampling, known=known)
            else:
                batch.step(sampling)
        except torch.OutOfMemoryError:
            return False
        return True

    def _newcomers(self, waiting: deque[Row], batch: Batch, at_once: int) -> list[Row]:
        """The rows that are begun now; a pass for few of them is put off while others go on."""
        places = min(at_once, self._most or at_once)
        free = places - batch.alive
        if batch.alive and (free < _REFILL_AT * places or not batch.takes_newcomers):
            return []
        return [waiting.popleft() for _ in range(min(free, len(waiting)))]

    def _make_room(self, rows: Sequence[Row], sampling: Sampling) -> str:
        """Take half as many rows from now on, and say so; EnvironmentProblem where one is left."""
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if len(rows) < 2:
            raise EnvironmentProblem(
                "the accelerator's memory is too small for a single answer",
                hint="a smaller max_new_tokens, or --set model.dtype=bfloat16",
            )
        self._most = len(rows) // 2
        for row in rows:  # a pass that was broken off may have taken a number
            row.draws = sampling.draws(row.prompt)
            for _ in row.tokens:
                row.draws.random()
        return f"memory ran out with {len(rows)} answers at once; {self._most} at once from now on"

    def _known(self, row: Row) -> Known | None:
        """The cache of the last row, cut to what this one's prompt begins with."""
        last = self.last
        if last is None or not last.is_whole or len(last.rows) != 1:
            return None
        read = last.rows[0].ids[:-1]
        held = kv_cache.cut_to(last.cache, read, row.prompt)
        return (last.cache, held) if held else None
