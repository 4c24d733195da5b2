"""Which rows stay once all rows are known, and in which split?

Held-out sources come first, so that a training row that repeats a held-out one is the one that
goes. In order: a training row that asks what an official test row asks; a row with the words of an
earlier one; a row much like an earlier one that stays. Without an official test split the rest is
split by a hash of what the user says.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zephyrctl.data.pipeline.mapping import Mapped
from zephyrctl.data.pipeline.near_duplicates import find_near_duplicates
from zephyrctl.data.splits import is_held_out, working_test_size
from zephyrctl.runs.atomic import disk_full_is_an_error

TRAIN, TEST = 0, 1
SPLITS = ("train", "test")
OVERLAP = "overlaps the test split"
DUPLICATE = "duplicate"
NEAR = "near-duplicate"
NEAR_TEST = "near-duplicate of a test row"
_OVERLAP, _DUPLICATE, _NEAR, _NEAR_TEST = 2, 3, 4, 5
_REASONS = {_OVERLAP: OVERLAP, _DUPLICATE: DUPLICATE, _NEAR: NEAR, _NEAR_TEST: NEAR_TEST}


@dataclass(frozen=True)
class Selection:
    """The fate of N rows: `split` (N,) is TRAIN, TEST, or a number that `reason` explains.

    `like` names for a duplicate or near-duplicate the earlier row that it repeats.
    """

    split: Any
    like: dict[int, int]

    def reason(self, row: int) -> str:
        """Why a row goes; only for one that does."""
        return _REASONS[int(self.split[row])]


@dataclass
class Fingerprints:
    """What is known of every row: 32 bytes in memory, its signature on the disk."""

    path: Path
    """The file of signatures."""
    keys: list[Any] = field(default_factory=list)
    wholes: list[Any] = field(default_factory=list)
    signed: int = 0
    rows: int = 0

    def add(self, chunk: Mapped) -> None:
        """Take the fingerprints out of a chunk; its signatures go to the disk."""
        self.rows += len(chunk.keys)
        self.keys.append(chunk.keys)
        if chunk.wholes is not None:
            self.wholes.append(chunk.wholes)
        if chunk.signatures is not None:
            content = chunk.signatures.tobytes()
            with (
                disk_full_is_an_error(self.path, needed=len(content)),
                self.path.open("ab") as stream,
            ):
                stream.write(content)
            self.signed += len(chunk.signatures)
        chunk.keys = chunk.wholes = chunk.signatures = None


def select(
    known: Fingerprints,
    *,
    test_rows: int | None,
    test_size: float,
    similarity: float | None,
    seed: int,
) -> Selection:
    """Decide about all rows.

    The first `test_rows` come from official test sources; None where there are none, and then
    `test_size` of the rows are held out. `similarity` is None where near-duplicates stay.
    """
    import numpy as np

    keys = _joined(known.keys)
    fate = np.full(known.rows, TRAIN, dtype=np.uint8)
    official = test_rows or 0
    fate[:official] = TEST
    asked = _in(keys[official:], keys[:official])
    fate[official:][asked] = _OVERLAP
    like: dict[int, int] = {}
    if known.wholes:
        like |= _first_of_each(_joined(known.wholes), rows=np.flatnonzero(fate <= TEST))
        fate[list(like)] = _DUPLICATE
    if similarity is not None and known.signed:
        rows = np.flatnonzero(fate <= TEST)
        near = find_near_duplicates(known.path, rows=rows, similarity=similarity)
        for row, earlier in near.items():
            fate[row] = _NEAR_TEST if earlier < official <= row else _NEAR
        like |= near
    if test_rows is None and test_size:
        for row in np.flatnonzero(fate == TRAIN).tolist():
            if is_held_out(keys[row].tobytes(), test_size=test_size, seed=seed):
                fate[row] = TEST
    return Selection(fate, like)


def shared_keys(known: Fingerprints, selection: Selection) -> int:
    """How many training rows ask what a held-out row asks: none, unless this room is at fault."""
    keys = _joined(known.keys)
    train, test = (keys[selection.split == split] for split in (TRAIN, TEST))
    return int(_in(train, test).sum())


def share_for_both(
    known: Fingerprints, selection: Selection, *, aim: float, seed: int
) -> tuple[int, float | None]:
    """How many different prompts the rows that stay have, and the `test_size` nearest to `aim` that
    puts some into either split; None where they cannot be parted."""
    kept = {key.tobytes() for key in _joined(known.keys)[selection.split <= TEST]}
    return len(kept), working_test_size(kept, aim=aim, seed=seed)


def _joined(parts: list[Any]) -> Any:
    """Digests of 16 bytes, given as parts (n, 16) uint8, as (N, 2) uint64, which sort fast."""
    import numpy as np

    if not parts:
        return np.zeros((0, 2), dtype=np.uint64)
    return np.ascontiguousarray(np.concatenate(parts)).view(np.uint64)


def _in(digests: Any, others: Any) -> Any:
    """Which of the digests (N, 2) are among the others (M, 2): (N,) bool."""
    import numpy as np

    # The first halves are compared fast; where they agree, the whole digests are.
    found = np.isin(digests[:, 0], others[:, 0])
    known = {other.tobytes() for other in others[np.isin(others[:, 0], digests[found, 0])]}
    for row in np.flatnonzero(found).tolist():
        found[row] = digests[row].tobytes() in known
    return found


def _first_of_each(digests: Any, *, rows: Any) -> dict[int, int]:
    """For each of the `rows` whose digest an earlier one has: the first that has it."""
    import numpy as np

    kept = digests[rows]
    order = np.lexsort((kept[:, 1], kept[:, 0]))  # stable: equal digests stay in their order
    ordered = kept[order]
    is_first = np.ones(len(order), dtype=bool)
    is_first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    starts = np.maximum.accumulate(np.where(is_first, np.arange(len(order)), 0))
    again = np.flatnonzero(~is_first)
    return dict(zip(rows[order[again]].tolist(), rows[order[starts[again]]].tolist(), strict=True))
