"""Which rows of a source are taken, by its `limit` and `weight`?

The choice follows from each row's content and the seed, so the same rows are taken whatever their
order, and more rows in the file change the choice as little as possible. Counts are exact.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

from zephyrctl.config.schema.data import Source
from zephyrctl.data.sources import RawRow, read
from zephyrctl.data.text import draw, row_digest


@dataclass(frozen=True, slots=True)
class Choice:
    """How often each row of a source is taken (by its position), and what was left out."""

    copies: dict[int, int]
    over_limit: int
    under_weight: int
    repeated: int


def choose(source: Source, *, seed: int) -> Choice | None:
    """The rows to take; None for all of them once, which needs no reading ahead."""
    if source.limit is None and source.weight == 1:
        return None
    keys = [
        (position, row_digest(row.value))
        for position, row in enumerate(read(source))
        if row.value is not None
    ]
    kept = _smallest(keys, len(keys) if source.limit is None else source.limit, "limit", seed)
    whole = int(source.weight)
    share = round((source.weight - whole) * len(kept))
    extra = _smallest(kept, share, "weight", seed)
    copies = {position: whole for position, _ in kept if whole}
    for position, _ in extra:
        copies[position] = copies.get(position, 0) + 1
    return Choice(
        copies=copies,
        over_limit=len(keys) - len(kept),
        under_weight=len(kept) - len(copies),
        repeated=sum(copies.values()) - len(copies),
    )


def _smallest(
    keys: list[tuple[int, bytes]], count: int, purpose: str, seed: int
) -> list[tuple[int, bytes]]:
    """The `count` rows with the smallest draws, ties by position."""
    if count >= len(keys):
        return keys
    return heapq.nsmallest(count, keys, key=lambda item: (draw(seed, purpose, item[1]), item[0]))


def taken(source: Source, choice: Choice | None) -> Iterator[RawRow]:
    """The chosen rows in file order, repeated ones side by side; every bad line as well."""
    for position, row in enumerate(read(source)):
        copies = 1 if choice is None or row.value is None else choice.copies.get(position, 0)
        for _ in range(copies):
            yield row
