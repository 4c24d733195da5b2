"""How long are the rows, how well do they fill the sequences, and how many steps will they take?

Lengths are kept as a histogram, rows by number of tokens. Quantiles and the packing plan follow
from it exactly, and it does not grow with the rows.
"""

from __future__ import annotations

import bisect
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Integers = NDArray[np.integer[Any]]

Rows = Mapping[int, int]
"""How many rows have how many tokens: length → rows."""

QUANTILES = (5, 25, 50, 75, 95, 99)
_BINS = 14


@dataclass
class Lengths:
    """Token counts of one split, collected row by row or many rows at once."""

    rows: Counter[int] = field(default_factory=Counter)
    """Rows by their tokens as trained; of a pair the prompt with its longer completion."""
    trained: int = 0
    """Tokens that carry loss."""
    rows_cut: int = 0
    tokens_cut: int = 0
    prompts_cut: int = 0
    shortened: int = 0
    """Rows that lost tokens anywhere: a pair may lose some of its prompt and of a completion."""

    def add(self, total: int, *, trained: int, cut: int, prompt_cut: int = 0) -> None:
        """Count one row; `cut` and `prompt_cut` are the tokens it lost."""
        self.rows[total] += 1
        self.trained += trained
        self.rows_cut += cut > 0
        self.prompts_cut += prompt_cut > 0
        self.shortened += cut > 0 or prompt_cut > 0
        self.tokens_cut += cut + prompt_cut

    def add_many(
        self,
        totals: Integers,
        *,
        trained: Integers,
        cut: Integers,
        prompt_cut: Integers | None = None,
    ) -> None:
        """Count N rows by arrays (N,) of what `add` takes; any number of calls, in any order."""
        import numpy as np

        _add_counts(self.rows, totals)
        lost = cut if prompt_cut is None else cut + prompt_cut
        # As 64-bit sums: tokens of a whole data set do not fit into 32 bits.
        self.trained += int(trained.sum(dtype=np.int64))
        self.tokens_cut += int(lost.sum(dtype=np.int64))
        self.rows_cut += int(np.count_nonzero(cut))
        self.prompts_cut += 0 if prompt_cut is None else int(np.count_nonzero(prompt_cut))
        self.shortened += int(np.count_nonzero(lost))


@dataclass
class PairLengths:
    """Whether the chosen completions are the longer ones, before they are cut."""

    pairs: int = 0
    difference: int = 0
    chosen_longer: int = 0
    same: int = 0

    def add(self, chosen: int, rejected: int) -> None:
        """Count one pair by the tokens of its completions."""
        self.pairs += 1
        self.difference += chosen - rejected
        self.chosen_longer += chosen > rejected
        self.same += chosen == rejected

    def add_many(self, chosen: Integers, rejected: Integers) -> None:
        """Count N pairs by arrays (N,) of what `add` takes."""
        import numpy as np

        # Signed before the subtraction: lengths may come as unsigned numbers.
        difference = chosen.astype(np.int64) - rejected
        self.pairs += len(difference)
        self.difference += int(difference.sum())
        self.chosen_longer += int(np.count_nonzero(difference > 0))
        self.same += int(np.count_nonzero(difference == 0))

    def to_json(self) -> dict[str, Any]:
        """Mean of chosen − rejected in tokens, and the share of pairs with the longer chosen."""
        if not self.pairs:
            return {"pairs": 0}
        return {
            "pairs": self.pairs,
            "mean_difference": round(self.difference / self.pairs, 3),
            "chosen_longer": round(self.chosen_longer / self.pairs, 4),
            "same_length": round(self.same / self.pairs, 4),
        }


def _add_counts(rows: Counter[int], totals: Integers) -> None:
    import numpy as np

    values, counts = np.unique(totals, return_counts=True)
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        rows[value] += count


def describe(lengths: Lengths, *, max_length: int, packing: str) -> dict[str, Any]:
    """The table of one split: totals, quantiles, histogram, cuts, packing."""
    rows = sum(lengths.rows.values())
    if not rows:
        return {"rows": 0}
    tokens = sum(length * count for length, count in lengths.rows.items())
    sequences = packed_sequences(lengths.rows, max_length=max_length, packing=packing)
    return {
        "rows": rows,
        "tokens": tokens,
        "trained_tokens": lengths.trained,
        "mean": round(tokens / rows, 2),
        "quantiles": {f"p{q}": quantile(lengths.rows, q / 100) for q in QUANTILES},
        "longest": max(lengths.rows),
        "histogram": histogram(lengths.rows),
        "rows_cut": lengths.rows_cut,
        "prompts_cut": lengths.prompts_cut,
        "tokens_cut": lengths.tokens_cut,
        "share_cut": round(lengths.shortened / rows, 4),
        "max_length": max_length,
        "packing": packing,
        "sequences": sequences,
        "packing_efficiency": round(tokens / (sequences * max_length), 4),
    }


def quantile(rows: Rows, share: float) -> int:
    """The smallest length that at least `share` of the rows do not exceed."""
    wanted = max(1, math.ceil(share * sum(rows.values())))
    seen = 0
    for length in sorted(rows):
        seen += rows[length]
        if seen >= wanted:
            return length
    raise ValueError("no rows have no quantile")


def histogram(rows: Rows) -> list[dict[str, int]]:
    """Rows in bins of one round width, from the shortest row to the longest.

    About a dozen bins hold 99 % of the rows; one more takes what is longer, however far it reaches.
    """
    shortest, most, longest = min(rows), quantile(rows, 0.99), max(rows)
    width = _round_up((most - shortest + 1) / _BINS)
    first = (shortest - 1) // width
    last = (most - 1) // width
    tail = last + 1
    bins = Counter[int]()
    for length, count in rows.items():
        bins[min((length - 1) // width, tail)] += count
    found = [
        {"from": at * width + 1, "to": (at + 1) * width, "rows": bins[at]}
        for at in range(first, tail)
    ]
    if bins[tail]:
        found.append({"from": tail * width + 1, "to": longest, "rows": bins[tail]})
    return found


def _round_up(width: float) -> int:
    """The next of 1, 2, 5, 10, 20, 50, …"""
    power = 10 ** math.floor(math.log10(max(1.0, width)))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= width)


def packed_sequences(rows: Rows, *, max_length: int, packing: str) -> int:
    """Sequences that training will see: one a row, whole rows packed (`bfd`), or a cut stream."""
    if packing == "wrapped":
        return max(1, math.ceil(sum(n * count for n, count in rows.items()) / max_length))
    if packing == "none":
        return sum(rows.values())
    return best_fit_decreasing(rows, max_length=max_length)


def best_fit_decreasing(rows: Rows, *, max_length: int) -> int:
    """Bins of best-fit-decreasing packing; empty rows need none, longer ones are cut.

    Rows of one length are placed together: the bin that takes the first takes as many more as it
    has room for, because after each its space is the smallest that still fits.
    """
    wanted = Counter[int]()
    for length, count in rows.items():
        if length > 0:
            wanted[min(length, max_length)] += count
    spaces: list[int] = []  # distinct free spaces of open bins, ascending
    open_bins = Counter[int]()
    bins = 0

    def leave(space: int, count: int) -> None:
        if space and count:
            if space not in open_bins:
                bisect.insort(spaces, space)
            open_bins[space] += count

    for length in sorted(wanted, reverse=True):
        left = wanted[length]
        while left:
            place = bisect.bisect_left(spaces, length)
            if place == len(spaces):
                space, fits = max_length, max_length // length
                usable = math.ceil(left / fits)
                bins += usable
            else:
                space = spaces.pop(place)
                fits, usable = space // length, open_bins.pop(space)
            full, rest = divmod(min(left, usable * fits), fits)
            left -= full * fits + rest
            leave(space - fits * length, full)
            leave(space - rest * length, 1 if rest else 0)
            leave(space, usable - full - (1 if rest else 0))
    return bins


def steps(sequences: int, *, global_batch_size: int, epochs: float, max_steps: int | None) -> int:
    """Optimizer steps of a stage: each epoch's last batch may be short."""
    if max_steps is not None:
        return max_steps
    return math.ceil(math.ceil(sequences / global_batch_size) * epochs)
