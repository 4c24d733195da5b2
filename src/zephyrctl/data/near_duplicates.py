"""Has a text much like this one been seen before? (MinHash over runs of three words, banded)

128 permutations; the bands are chosen so that a pair at the wanted similarity is found with a
probability above 0.99, and every candidate is confirmed by its estimated Jaccard similarity
(standard error about 0.03 at 0.9). Broder 1997; Leskovec, Rajaraman, Ullman, ch. 3.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from functools import cache
from typing import Any

PERMUTATIONS = 128
_MASK = (1 << 32) - 1


def signature(tokens: Sequence[str]) -> bytes:
    """The MinHash signature of a list of words: 128 little-endian 32-bit numbers."""
    import numpy as np

    hashes = np.array([zlib.crc32(word.encode()) for word in tokens] or [0], dtype=np.uint64)
    if len(hashes) >= 3:
        # Order matters in a run, hence the three different odd multipliers (mod 2**32).
        runs = hashes[:-2] * np.uint64(0x9E3779B1)
        runs += hashes[1:-1] * np.uint64(0x85EBCA6B)
        runs += hashes[2:] * np.uint64(0xC2B2AE35)
    else:
        runs = hashes
    runs = np.unique((runs ^ (runs >> np.uint64(29))) & np.uint64(_MASK))
    a, b = _permutations()
    lowest = np.full(PERMUTATIONS, _MASK, dtype=np.uint64)
    for start in range(0, len(runs), 4096):  # bounds the table to 128 × 4096 for a huge text
        table = runs[None, start : start + 4096] * a[:, None] + b[:, None]
        lowest = np.minimum(lowest, (table >> np.uint64(32)).min(axis=1))
    return lowest.astype("<u4").tobytes()


@cache
def _permutations() -> tuple[Any, Any]:
    """Odd multipliers and offsets of multiply-shift hashing into the upper 32 bits."""
    import numpy as np

    rng = random.Random(20231025)
    a = np.array([rng.getrandbits(64) | 1 for _ in range(PERMUTATIONS)], dtype=np.uint64)
    b = np.array([rng.getrandbits(64) for _ in range(PERMUTATIONS)], dtype=np.uint64)
    return a, b


def band_rows(similarity: float) -> int:
    """Most rows per band that still find a pair at `similarity` with probability over 0.99."""
    for rows in (32, 16, 8, 4, 2):
        if 1 - (1 - similarity**rows) ** (PERMUTATIONS // rows) > 0.99:
            return rows
    return 1


class NearDuplicates:
    """The texts seen so far; `find` answers with the label of one that is like the new text."""

    def __init__(self, *, similarity: float) -> None:
        self._similarity = similarity
        self._rows = band_rows(similarity)
        self._bands: dict[bytes, list[int]] = {}
        self._seen: list[tuple[bytes, str]] = []

    def find(self, new: bytes) -> str | None:
        """The label of the first text at least as similar as wanted; None if there is none."""
        candidates = {i for key in self._keys(new) for i in self._bands.get(key, ())}
        for i in sorted(candidates):
            seen, label = self._seen[i]
            if agreement(new, seen) >= self._similarity:
                return label
        return None

    def add(self, new: bytes, label: str) -> None:
        """Remember a text under `label`."""
        for key in self._keys(new):
            self._bands.setdefault(key, []).append(len(self._seen))
        self._seen.append((new, label))

    def _keys(self, new: bytes) -> list[bytes]:
        width = self._rows * 4
        return [
            band.to_bytes(2, "little") + new[start : start + width]
            for band, start in enumerate(range(0, len(new), width))
        ]


def agreement(one: bytes, other: bytes) -> float:
    """Share of equal numbers in two signatures: an estimate of the Jaccard similarity."""
    import numpy as np

    first, second = np.frombuffer(one, dtype="<u4"), np.frombuffer(other, dtype="<u4")
    return float((first == second).mean())
