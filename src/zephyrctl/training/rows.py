"""Lengths and labels of token rows, computed on whole columns.

A training split may hold hundreds of millions of tokens; as Python lists they would take minutes
and tens of gigabytes.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute
from datasets import Dataset
from datasets.table import InMemoryTable

# pyarrow makes its compute functions at run time, where no type checker sees them.
pc: Any = pyarrow.compute

IGNORED = -100
"""Label of a token that is not trained."""


def lengths_of(rows: Dataset, column: str) -> list[int]:
    """Tokens per row, `(N,)`."""
    return pc.list_value_length(token_column(rows, column)).to_pylist()


def with_labels(rows: Dataset, *, mask: str | None) -> Dataset:
    """Rows of `input_ids` and `labels`: the id where `mask` is 1 or no mask is given, else −100."""
    ids = token_column(rows, "input_ids")
    labels = ids
    if mask is not None:
        chosen = pc.equal(token_column(rows, mask).flatten(), 1)
        values = pc.if_else(chosen, ids.flatten(), pa.scalar(IGNORED, ids.type.value_type))
        labels = pa.ListArray.from_arrays(_offsets(ids), values)
    return Dataset(InMemoryTable(pa.table({"input_ids": ids, "labels": labels})))


def digest_of(rows: Dataset, columns: Sequence[str]) -> str:
    """SHA-256 of the tokens of these columns, in the order of the rows."""
    total = hashlib.sha256()
    for name in columns:
        array = token_column(rows, name)
        for numbers in (pc.list_value_length(array), array.flatten()):
            total.update(numbers.to_numpy(zero_copy_only=False).tobytes())
    return total.hexdigest()


def longest_first(rows: Dataset, lengths: list[int]) -> tuple[Dataset, list[int]]:
    """Rows and lengths sorted for evaluation: like lengths share a batch and need no padding."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    return rows.select(order), [lengths[i] for i in order]


def token_column(rows: Dataset, name: str) -> pa.ListArray:
    """One column as a single array that begins at its own first row."""
    found = rows.with_format("arrow")[:][name].combine_chunks()
    array = pa.concat_arrays(found.chunks) if isinstance(found, pa.ChunkedArray) else found
    if pa.types.is_large_list(array.type):
        array = array.cast(pa.list_(array.type.value_type))
    return array


def _offsets(array: pa.ListArray) -> pa.Array:
    """Row boundaries within `array.flatten()`."""
    lengths = pc.list_value_length(array).to_numpy(zero_copy_only=False)
    return pa.array([0, *lengths.cumsum().tolist()], pa.int32())
