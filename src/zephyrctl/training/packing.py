"""Which dialogues share a row, and how full are the rows?

TRL 1.16 packs a thousand dialogues at a time and cuts what is too long without a word. Here all
are packed at once, so that the rows are exactly those that data preparation announced, on whole
columns, and no token is lost.
"""

import bisect
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from datasets import Dataset
from datasets.table import InMemoryTable

from zephyrctl.errors import DataError
from zephyrctl.training.rows import lengths_of, token_column
from zephyrctl.training.scoring import Documents


@dataclass(frozen=True)
class Packed:
    """Rows of several documents; with `seq_lengths` where these are kept apart."""

    rows: Dataset
    strategy: Literal["bfd", "wrapped"]
    documents: int
    tokens: int
    max_length: int

    @property
    def efficiency(self) -> float:
        """Share of the row places that hold a token."""
        return self.tokens / max(1, len(self.rows) * self.max_length)

    def describe(self) -> str:
        """One line with what was packed into what."""
        how = "packed whole into" if self.strategy == "bfd" else "joined and cut into"
        return (
            f"{self.documents:,} dialogues are {how} {len(self.rows):,} rows of at most "
            f"{self.max_length:,} tokens, {100 * self.efficiency:.1f} % full; no token is lost"
        )


def pack(
    rows: Dataset, *, strategy: Literal["bfd", "wrapped"], max_length: int, seed: int
) -> Packed:
    """Pack rows of `input_ids` and `labels`.

    They are shuffled first, so that neighbours in a row are no neighbours in a file. `bfd` (best
    fit decreasing, arXiv 2404.10830) keeps documents whole; `wrapped` cuts one stream of tokens
    every `max_length`. DataError where a document is longer than a row of `bfd`.
    """
    lengths = np.asarray(lengths_of(rows, "input_ids"), dtype=np.int64)
    order = np.random.default_rng(seed).permutation(len(lengths))
    if strategy == "wrapped":
        total = int(lengths.sum())
        ends = [*range(max_length, total, max_length), *([total] if total else [])]
        return Packed(
            _cut(rows, order, [0, *ends]), strategy, len(lengths), total, max_length=max_length
        )
    if len(lengths) and lengths.max() > max_length:
        raise DataError(
            f"a dialogue of {lengths.max()} tokens does not fit into a row of {max_length}",
            where=f"row {lengths.argmax()} of the prepared dialogues",
            hint="zephyrctl data prepare   (it cuts every dialogue to sft.max_length)",
        )
    bins = best_fit_decreasing(lengths[order].tolist(), max_length=max_length)
    taken = order[[place for bin_ in bins for place in bin_]] if bins else order[:0]
    sizes = [len(bin_) for bin_ in bins]
    documents = pa.ListArray.from_arrays(
        pa.array(np.cumsum([0, *sizes]), pa.int32()), pa.array(lengths[taken], pa.int32())
    )
    starts = np.cumsum([0, *lengths[taken].tolist()])
    cut = _cut(rows, taken, starts[np.cumsum([0, *sizes])].tolist(), seq_lengths=documents)
    return Packed(cut, strategy, len(lengths), int(lengths.sum()), max_length=max_length)


def best_fit_decreasing(lengths: Sequence[int], *, max_length: int) -> list[list[int]]:
    """Positions that share a row: the longest first, each into the row where it leaves least.

    Documents of one length keep their order. Empty ones are in no row.
    """
    bins: list[list[int]] = []
    spaces: list[int] = []  # distinct free spaces of open rows, ascending
    rows_with: dict[int, list[int]] = defaultdict(list)
    for place in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        length = lengths[place]
        if length == 0:
            break
        at = bisect.bisect_left(spaces, length)
        if at == len(spaces):
            space = max_length
            number = len(bins)
            bins.append([])
        else:
            space = spaces[at]
            number = rows_with[space].pop()
            if not rows_with[space]:
                del spaces[at]
        bins[number].append(place)
        left = space - length
        if left:
            if not rows_with[left]:
                bisect.insort(spaces, left)
            rows_with[left].append(number)
    return bins


def documents_of(row: dict[str, Any]) -> Documents:
    """The documents of a row as (ids, labels); a row without `seq_lengths` is one document."""
    ids, labels = row["input_ids"], row["labels"]
    documents: Documents = []
    start = 0
    for length in row.get("seq_lengths") or [len(ids)]:
        documents.append((ids[start : start + length], labels[start : start + length]))
        start += length
    return documents


def _cut(rows: Dataset, order: np.ndarray, ends: Sequence[int], **more: pa.Array) -> Dataset:
    """The tokens of `rows` in this order as one stream, cut at `ends`, `(N+1,)` from 0 on."""
    offsets = pa.array(ends, pa.int32())
    columns: dict[str, pa.Array] = {}
    for name in ("input_ids", "labels"):
        values = token_column(rows, name).take(pa.array(order)).flatten()
        columns[name] = pa.ListArray.from_arrays(offsets, values)
    return Dataset(InMemoryTable(pa.table(columns | more)))
