"""How do many answers grow together, token by token?

Rows wait until there is a place for them, are read in a pass of their own and then join those under
way; a row that ends leaves its place to the next. One loop decodes everything, so that a streamed
answer, a single one and one of a batch are the same tokens. Legend: B rows, T columns, V words.
"""

from __future__ import annotations

import gc
import inspect
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from zephyrctl.errors import EnvironmentProblem, TrainingDiverged
from zephyrctl.generation import kv_cache
from zephyrctl.generation.choosing import adjusted, next_tokens, repetition_penalty, scores_of
from zephyrctl.generation.rows import Row
from zephyrctl.generation.sampling import Sampling
from zephyrctl.runs import heartbeat
from zephyrctl.runs.signals import raise_if_stopping

_COMPACT_AT = 0.75
"""Finished rows leave the batch once the others are at most this share of it."""
_REFILL_AT = 0.25
"""Rows wait until this share of the places is free, so that several are read in one pass."""
_NO_MEMORY = ("can't allocate memory", "out of memory")
"""What torch says of it without a class of its own: on a CPU, and on Apple's GPUs."""
Known = tuple[Any, int]
"""A cache, and how many of a row's first tokens it holds."""


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
        return out.logits[:, -1].float()

    @torch.inference_mode()
    def footprint(self, ids: list[int]) -> tuple[int, bool]:
        """Bytes that the keys and values of a token take, measured on a prompt, and whether rows
        can join others under way."""
        batch = Batch(self)
        batch.begin([Row(0, ids, 1, Sampling(max_new_tokens=1))])
        batch.read()
        size = kv_cache.size_of(batch.cache) // len(ids)
        return size, kv_cache.takes_newcomers(batch.cache, self.model)

    def extend(self, rows: Sequence[Row], logits: torch.Tensor) -> None:
        """Give each row that is not done its next token, from logits (B, V), or its problem."""
        broken = torch.isnan(logits).any(dim=-1).tolist()
        settings = self.model.generation_config
        penalised = repetition_penalty(settings) != 1.0
        scored = {place: row.top_logprobs for place, row in enumerate(rows)
                  if row.top_logprobs is not None and not row.is_done}  # fmt: skip
        unchanged = logits[list(scored)].log_softmax(dim=-1) if scored else None
        logits = adjusted(logits, [row.ids for row in rows] if penalised else [], settings)
        tokens = next_tokens(logits, rows)
        if unchanged is not None:
            chosen = [tokens[place] for place in scored]
            found = scores_of(unchanged, chosen, list(scored.values()))
            for place, score in zip(scored, found, strict=True):
                rows[place].scores.append(score)
        now = time.perf_counter()
        for row, token, is_broken in zip(rows, tokens, broken, strict=True):
            if row.is_done:
                continue
            if is_broken:
                row.problem = TrainingDiverged(
                    "the model's output is not a number", where=self._path, hint="train it again"
                )
                continue
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
        self._unread: Any = None

    @property
    def alive(self) -> int:
        """Rows that are not done."""
        return sum(not row.is_done for row in self.rows)

    @property
    def takes_newcomers(self) -> bool:
        """Whether rows can be added now."""
        return not self.alive or kv_cache.takes_newcomers(self.cache, self._reader.model)

    def add(self, rows: list[Row], *, known: Known | None = None) -> None:
        """Read new rows, choose their next tokens, and put them beside those under way."""
        newcomers = Batch(self._reader)
        newcomers.begin(rows, known=known)
        newcomers.read()
        self.join(newcomers)

    def begin(self, rows: list[Row], *, known: Known | None = None) -> None:
        """Take the rows of a new batch, which `read` then reads."""
        now = time.perf_counter()
        self.rows = rows
        self.cache, held = known or (kv_cache.new_cache(self._reader.model), 0)
        for row in rows:
            row.began = row.began or now
            row.cached = held
        ids, self.mask = self._reader.padded([row.ids for row in rows])
        self._unread = ids[:, held:]

    def read(self, columns: int | None = None) -> bool:
        """Read what was begun, or its next `columns`; true once all is read, and every row has its
        next token."""
        cut = columns or self._unread.shape[1]
        part, self._unread = self._unread[:, :cut], self._unread[:, cut:]
        end = self.mask.shape[1] - self._unread.shape[1]
        self.is_whole = False
        logits = self._reader.read(part, self.mask[:, :end], self.cache)
        if is_read := not self._unread.shape[1]:
            self._reader.extend(self.rows, logits)
        self.is_whole = True
        return is_read

    def join(self, newcomers: Batch) -> None:
        """Put the rows of a batch that was read beside those under way."""
        self.drop_done()
        if self.rows:
            self.is_whole = False
            self.mask = kv_cache.join(self.cache, self.mask, newcomers.cache, newcomers.mask)
            self.rows = self.rows + newcomers.rows
            self.is_whole = True
        else:
            self.rows, self.cache, self.mask = newcomers.rows, newcomers.cache, newcomers.mask
            self.is_whole = newcomers.is_whole

    def step(self) -> None:
        """One more token for every row; where many are done, they go first, so that memory which
        runs out for it leaves no token that was chosen and not told."""
        if 0 < self.alive <= _COMPACT_AT * len(self.rows):
            self.drop_done()
        ids = torch.tensor([[row.tokens[-1]] for row in self.rows], device=self.mask.device)
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.rows), 1)], dim=1)
        self.is_whole = False
        self._reader.extend(self.rows, self._reader.read(ids, self.mask, self.cache))
        self.is_whole = True

    def drop_done(self) -> None:
        """Let finished rows go."""
        kept = [place for place, row in enumerate(self.rows) if not row.is_done]
        if kept and len(kept) < len(self.rows):
            trim = kv_cache.takes_newcomers(self.cache, self._reader.model)
            self.mask = kv_cache.select(self.cache, self.mask, kept, trim=trim)
        self.rows = [self.rows[place] for place in kept]


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
            if self._pass(batch, newcomers, known=known):
                if broken := next((row.problem for row in grown if row.problem), None):
                    raise broken
                yield from grown
            else:
                yield from (row for row in grown if row.is_done)
                left = [row for row in [*batch.rows, *newcomers] if not row.is_done]
                waiting.extendleft(reversed(left))
                batch = self.last = Batch(self.reader)
                self._most = make_room(left)
                say(
                    f"memory ran out with {len(left)} answers at once; {self._most} at once from "
                    "now on"
                )
            known = None

    def _pass(self, batch: Batch, newcomers: list[Row], *, known: Known | None) -> bool:
        """One forward pass; false where the device's memory was too small for it."""
        try:
            if newcomers:
                batch.add(newcomers, known=known)
            else:
                batch.step()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return False
        return True

    def _newcomers(self, waiting: deque[Row], batch: Batch, at_once: int) -> list[Row]:
        """The rows that are begun now; a pass for few of them is put off while others go on."""
        places = min(at_once, self._most or at_once)
        free = places - batch.alive
        if batch.alive and (free < _REFILL_AT * places or not batch.takes_newcomers):
            return []
        return [waiting.popleft() for _ in range(min(free, len(waiting)))]

    def _known(self, row: Row) -> Known | None:
        """The cache of the last row, cut to what this one's prompt begins with; None where it is
        no use, or begins with padding that was read beside others."""
        last = self.last
        if last is None or not last.is_whole or len(last.rows) != 1 or not bool(last.mask.all()):
            return None
        read = last.rows[0].ids[:-1]
        held = kv_cache.cut_to(last.cache, read, row.prompt)
        return (last.cache, held) if held else None


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a pass broke off because the memory of its device was too small."""
    said = str(error)
    return isinstance(error, torch.OutOfMemoryError) or any(words in said for words in _NO_MEMORY)


def make_room(rows: Sequence[Row]) -> int:
    """How many of the rows may go on together after their memory ran out: half of them.

    What the pass left is freed, and their draws stand as before it. EnvironmentProblem where one
    row is too many.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if len(rows) < 2:
        raise EnvironmentProblem(
            "the accelerator's memory is too small for a single answer",
            hint="a smaller max_new_tokens, or --set model.dtype=bfloat16",
        )
    for row in rows:
        row.rewind()
    return len(rows) // 2
