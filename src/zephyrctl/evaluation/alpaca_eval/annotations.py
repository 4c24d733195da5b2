"""What does a file of stored annotations say about each instruction?

Three kinds of file: upstream's `annotations.json` with texts, the same reduced to lengths (JSONL,
fields `eval_index`, `len_1`, `len_2`), and the judgments that this package keeps, which may hold
both orders of a pair and several repeats.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zephyrctl.errors import DataError
from zephyrctl.evaluation.alpaca_eval.formats import read_rows, text_of
from zephyrctl.evaluation.alpaca_eval.protocol import DRAW


@dataclass(frozen=True)
class Judged:
    """One instruction with all its verdicts united.

    `preference` lies in 1..2, None where a verdict is missing. With both orders it is their mean,
    and None where one of them is missing; of repeats it is the mean over those that have one.
    `by_order` holds the means by order, 1 for the model's output shown second. Lengths are in
    characters. `place` is the instruction's in the data set, None where it is not known.
    """

    place: int | None
    preference: float | None
    len_1: float
    len_2: float
    category: str = ""
    by_order: Mapping[int, float] = field(default_factory=dict)
    share: float = 1.0
    """Of its repeats, those that have a preference."""


@dataclass(frozen=True)
class Stored:
    """A file's annotations, and whether both models of all rows bear one name."""

    judged: tuple[Judged, ...]
    is_baseline: bool
    dropped: int
    """Rows that a later row of the same question, order and repeat replaced."""


def read_annotations(path: Path, *, instructions: Sequence[str] | None) -> Stored:
    """The annotations of a file, in its order.

    `instructions`, in the order of the data set, give each row its place where the file itself does
    not. DataError for a row that is none, and for an instruction that is not among them.
    """
    rows = read_rows(path)
    if not rows:
        raise DataError("no annotation", where=str(path))
    names = [(row.get("generator_1"), row.get("generator_2")) for row in rows]
    is_baseline = all(one is not None and one == two for one, two in names)
    if "question_id" in rows[0] and "order" in rows[0]:
        kept = last_of_each(rows)
        return Stored(tuple(unite(kept)), is_baseline, len(rows) - len(kept))
    places = {text: place for place, text in enumerate(instructions or ())}
    judged = [_judged(row, places, f"{path}, entry {at}") for at, row in enumerate(rows)]
    return Stored(tuple(judged), is_baseline, 0)


def last_of_each(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The last row of each question, repeat and order."""
    last = {(row["question_id"], row.get("sample", 0), row["order"]): row for row in rows}
    return list(last.values())


def unite(rows: Sequence[Mapping[str, Any]]) -> list[Judged]:
    """Our own rows by instruction, in the order of the data set.

    A row with order 0 is an identical pair, which no order changes.
    """
    by_question: dict[int, dict[int, list[Mapping[str, Any]]]] = {}
    for row in rows:
        samples = by_question.setdefault(int(row["question_id"]), {})
        samples.setdefault(int(row.get("sample", 0)), []).append(row)
    return [_united(place, by_question[place]) for place in sorted(by_question)]


def _united(place: int, samples: Mapping[int, Sequence[Mapping[str, Any]]]) -> Judged:
    wins = [_mean_of_orders(games) for games in samples.values()]
    stands = [win for win in wins if win is not None]
    games = [row for rows in samples.values() for row in rows]
    orders: dict[int, list[float]] = {}
    for row in games:
        if row["order"] and row["preference"] is not None:
            orders.setdefault(row["order"], []).append(row["preference"])
    return Judged(
        place=place,
        preference=_mean(stands) if stands else None,
        len_1=_mean([_length(row, 1) for row in games]),
        len_2=_mean([_length(row, 2) for row in games]),
        category=str(games[0].get("category", "")),
        by_order={order: _mean(values) for order, values in sorted(orders.items())},
        share=len(stands) / len(wins),
    )


def _length(row: Mapping[str, Any], output: int) -> int:
    """Characters of an output; a row that was imported without texts says them itself."""
    known = row.get(f"len_{output}")
    return len(row[f"output_{output}"]) if known is None else int(known)


def _mean_of_orders(games: Sequence[Mapping[str, Any]]) -> float | None:
    found = [row["preference"] for row in games]
    return None if None in found else _mean(found)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _judged(row: Mapping[str, Any], places: Mapping[str, int], where: str) -> Judged:
    """One row of upstream's, whole or reduced."""
    place = row.get("eval_index")
    if "len_1" in row and "len_2" in row:
        lengths = (row["len_1"], row["len_2"])
    else:
        lengths = tuple(len(text_of(dict(row), name, where)) for name in ("output_1", "output_2"))
    if place is None and places:
        instruction = text_of(dict(row), "instruction", where)
        place = places.get(instruction)
        if place is None:
            raise DataError(
                f"the instruction '{instruction[:60]}' is not in the baseline's file", where=where
            )
    return Judged(
        place=place,
        preference=preference_of(row.get("preference"), where),
        len_1=lengths[0],
        len_2=lengths[1],
        category=str(row.get("dataset", "")),
    )


def preference_of(value: object, where: str) -> float | None:
    """A preference in 1..2; 0 is an older way to write a draw, null and NaN are none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise DataError(f"'preference' is no number: {value!r}", where=where)
    if value == 0:
        return DRAW
    return float(value) if 1 <= value <= 2 else None
