"""How long are the rows, how well do they fill the sequences, and how many steps will they take?"""

from __future__ import annotations

import bisect
import math
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Lengths:
    """Token counts of one split, collected row by row."""

    total: array[int] = field(default_factory=lambda: array("q"))
    """Tokens of each row as it is trained; of a pair the prompt with its longer completion."""
    trained: int = 0
    """Tokens that carry loss."""
    rows_cut: int = 0
    tokens_cut: int = 0
    prompts_cut: int = 0

    def add(self, total: int, *, trained: int, cut: int, prompt_cut: int = 0) -> None:
        """Count one row; `cut` and `prompt_cut` are the tokens it lost."""
        self.total.append(total)
        self.trained += trained
        self.rows_cut += cut > 0
        self.prompts_cut += prompt_cut > 0
        self.tokens_cut += cut + prompt_cut


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


def describe(lengths: Lengths, *, max_length: int, packing: str) -> dict[str, Any]:
    """The table of one split: totals, quantiles, histogram, cuts, packing."""
    counts = sorted(lengths.total)
    rows = len(counts)
    if not rows:
        return {"rows": 0}
    sequences = packed_sequences(counts, max_length=max_length, packing=packing)
    return {
        "rows": rows,
        "tokens": sum(counts),
        "trained_tokens": lengths.trained,
        "mean": round(sum(counts) / rows, 2),
        "quantiles": {f"p{q}": quantile(counts, q / 100) for q in (5, 25, 50, 75, 95, 99)},
        "longest": counts[-1],
        "histogram": histogram(counts),
        "rows_cut": lengths.rows_cut,
        "prompts_cut": lengths.prompts_cut,
        "tokens_cut": lengths.tokens_cut,
        "share_cut": round((lengths.rows_cut + lengths.prompts_cut) / rows, 4),
        "sequences": sequences,
        "packing_efficiency": round(sum(counts) / (sequences * max_length), 4),
    }


def quantile(ordered: Sequence[int], share: float) -> int:
    """The smallest value that at least `share` of the ordered values do not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def histogram(ordered: Sequence[int]) -> list[dict[str, int]]:
    """Counts in bins whose edges double: 1..16, 17..32, 33..64, …; empty ends left out."""
    bins = Counter(max(4, (value - 1).bit_length()) for value in ordered)
    return [
        {"from": 1 if power == 4 else 2 ** (power - 1) + 1, "to": 2**power, "rows": bins[power]}
        for power in range(min(bins), max(bins) + 1)
    ]


def packed_sequences(lengths: Sequence[int], *, max_length: int, packing: str) -> int:
    """Sequences that training will see: one a row, whole rows packed (`bfd`), or a cut stream."""
    if packing == "wrapped":
        return max(1, math.ceil(sum(lengths) / max_length))
    if packing == "none":
        return len(lengths)
    return best_fit_decreasing(lengths, max_length=max_length)


def best_fit_decreasing(lengths: Sequence[int], *, max_length: int) -> int:
    """Bins of best-fit-decreasing packing, in O(n log m) for m distinct free spaces."""
    spaces: list[int] = []  # distinct free spaces, ascending
    open_bins: Counter[int] = Counter()
    bins = 0
    for length in sorted((min(n, max_length) for n in lengths), reverse=True):
        place = bisect.bisect_left(spaces, length)
        if place == len(spaces):
            bins += 1
            left = max_length - length
        else:
            space = spaces[place]
            left = space - length
            open_bins[space] -= 1
            if not open_bins[space]:
                del open_bins[space], spaces[place]
        if left:
            if left not in open_bins:
                bisect.insort(spaces, left)
            open_bins[left] += 1
    return bins


def steps(sequences: int, *, global_batch_size: int, epochs: float, max_steps: int | None) -> int:
    """Optimizer steps of a stage: each epoch's last batch may be short."""
    if max_steps is not None:
        return max_steps
    return math.ceil(math.ceil(sequences / global_batch_size) * epochs)
