"""How much may be under way at once, so that memory has a bound?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zephyrctl.data.messages import Message
from zephyrctl.generation.rows import Row
from zephyrctl.sizes import size_words

if TYPE_CHECKING:
    from zephyrctl.generation.engine import Engine

MOST_ROWS = 32
"""Answers at once where nobody says otherwise."""
_SHARE = 0.5
"""Of the free memory, for keys and values: a pass copies those of one layer, and newcomers' are
held twice while they join."""
_PART_ON_CPU = 128
_PART = 1024


@dataclass(frozen=True)
class Budget:
    """`rows` answers at once, whose number times the longest of them comes to at most `tokens`.

    An answer counts with all that it may still grow to, so that what is begun is always finished.
    One answer alone is begun in any case. `part` is how many tokens of prompts are read before the
    answers under way go on; `joins` is whether newcomers can join them at all.
    """

    rows: int
    tokens: int
    part: int
    joins: bool
    token_bytes: int = 0

    def takes(self, row: Row, others: Sequence[Row], *, rows: int | None = None) -> bool:
        """Whether `row` may go on beside `others`, of which `rows` overrides the number."""
        if not others:
            return True
        together = [*others, row]
        if len(together) > min(self.rows, rows or self.rows):
            return False
        if self.joins:
            longest = max(one.longest for one in together)
        else:  # all begin at one column, and columns are never dropped
            longest = max(len(one.prompt) for one in together) + max(o.limit for o in together)
        return len(together) * longest <= self.tokens

    def said(self) -> list[str]:
        """What the operator is told of it."""
        size = size_words(self.tokens * self.token_bytes)
        told = [
            f"up to {self.rows} answers at once, in {size} of keys and values "
            f"({self.tokens} tokens); more wait in line"
        ]
        if not self.joins:
            told.append("this model takes no newcomers under way: one batch follows the other")
        return told


def budget_of(engine: Engine, *, rows: int) -> Budget:
    """The budget of a loaded model, from what its keys and values take and what memory is free."""
    from zephyrctl.generation import kv_cache

    ids = engine.encode([Message("user", "How much memory does this take?")])
    token_bytes, joins = engine.decoder.reader.footprint(ids)
    free = kv_cache.free_bytes(engine.device)
    tokens = max(1, int(_SHARE * free) // max(1, token_bytes))
    part = _PART_ON_CPU if engine.device.type == "cpu" else _PART
    return Budget(rows, tokens, part, joins, token_bytes)
