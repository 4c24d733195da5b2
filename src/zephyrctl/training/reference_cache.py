"""Which reference log-probs does the cache that all runs share keep?

One file per key, which stands for weights and number formats; in it one row per pair of token ids.
"""

import hashlib
import math
from collections.abc import Callable, Collection, Mapping

import pyarrow as pa
from datasets import Dataset

from zephyrctl import environment
from zephyrctl.data.pipeline.shards import Shards
from zephyrctl.training.rows import token_column

CACHE_BYTES = 2**30
"""About 30 million pairs; the files that were not used for longest leave the cache beyond it."""
IDS = ("prompt_ids", "chosen_ids", "rejected_ids")
_NAME_BYTES = 16

LogProbs = tuple[float, float]
"""Of the chosen and of the rejected completion of a pair."""


def pair_names(rows: Dataset) -> list[bytes]:
    """A digest of the tokens of each pair, `(N,)`."""
    names = [hashlib.blake2b(digest_size=_NAME_BYTES) for _ in range(len(rows))]
    for column in IDS:
        array = token_column(rows, column)
        tokens = array.flatten().to_numpy(zero_copy_only=False).astype("<i8")
        start = 0
        for name, length in zip(names, array.value_lengths().to_pylist(), strict=True):
            name.update(length.to_bytes(8, "little"))
            name.update(tokens[start : start + length].tobytes())
            start += length
    return [name.digest() for name in names]


def read(
    key: str, *, wanted: Collection[bytes], say: Callable[[str], None]
) -> dict[bytes, LogProbs]:
    """What is kept of these pairs. A file that is damaged, or holds something else than its name
    says, counts as none, and that is said."""
    kept = _read(_shards(), key, say=say)
    return {name: kept[name] for name in wanted if name in kept}


def add(key: str, found: Mapping[bytes, LogProbs]) -> None:
    """Keep these log-probs beside those already kept; what is not finite is left out."""
    shards = _shards()
    with shards.in_use():
        kept = _read(shards, key, say=lambda _: None)
        kept |= {name: pair for name, pair in found.items() if all(map(math.isfinite, pair))}
        columns = [list(kept), *([pair[side] for pair in kept.values()] for side in (0, 1))]
        shards.write(key, pa.table(columns, schema=_schema(key)))


def prune() -> None:
    """Keep the cache within its bound."""
    _shards().prune(to_bytes=CACHE_BYTES)


def _read(shards: Shards, key: str, *, say: Callable[[str], None]) -> dict[bytes, LogProbs]:
    was_there = shards.holds(key)
    table = shards.read(key)
    if table is None or not table.schema.equals(_schema(key), check_metadata=True):
        if was_there:
            say("the reference log-probs in the cache are damaged and are computed again")
        return {}
    names, chosen, rejected = (column.to_pylist() for column in table.columns)
    return dict(zip(names, zip(chosen, rejected, strict=True), strict=True))


def _schema(key: str) -> pa.Schema:
    columns = [
        ("pair", pa.binary(_NAME_BYTES)),
        *((n, pa.float64()) for n in ("chosen", "rejected")),
    ]
    return pa.schema(columns, metadata={"key": key})


def _shards() -> Shards:
    return Shards(environment.made_in_cache("reference"))
