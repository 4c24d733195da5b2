"""Which rows are spoilt on purpose, and how; data preparation must find each of them."""

import copy
import random
from collections.abc import Callable, Sequence
from typing import Any

from phrasings import REFUSALS

Row = dict[str, Any]
COUNTS = {
    "refusal": 18,
    "lower_case": 16,
    "exact_duplicate": 16,
    "near_duplicate": 16,
    "broken": 12,
    "overlap": 18,
}
TIES = 10


def disguised(text: str, *, rng: random.Random) -> str:
    """`text` in other case and punctuation; the words stay."""
    style = rng.choice((str.upper, str.lower, str.swapcase))
    changed = style(text)
    for mark in "?.:;":
        changed = changed.replace(mark, rng.choice(("", "!", " ...")))
    return changed + rng.choice(("!!", " ...", "?!"))


def _refuse(kind: str, row: Row, rng: random.Random) -> Row:
    spoilt = copy.deepcopy(row)
    if kind == "dialogues":
        spoilt["data"][1] = rng.choice(REFUSALS)
        return spoilt
    for item, refusal in zip(
        spoilt["completions"], rng.sample(REFUSALS, len(REFUSALS)), strict=True
    ):
        item["response"] = refusal
    return spoilt


def _lower(kind: str, row: Row, rng: random.Random) -> Row:
    spoilt = copy.deepcopy(row)
    if kind == "dialogues":
        spoilt["data"][1] = spoilt["data"][1].lower()
        return spoilt
    for item in spoilt["completions"]:
        item["response"] = item["response"].lower()
    return spoilt


def _break(kind: str, row: Row, rng: random.Random) -> Row:
    question = row["data"][0] if kind == "dialogues" else row["instruction"]
    if kind == "dialogues":
        data = rng.choice(([], [question], [question, ""], [question, None], ["", "Yes."], None))
        return {**row, "data": data}
    spoilt = copy.deepcopy(row)
    match rng.randrange(4):
        case 0:
            spoilt["completions"] = []
        case 1:
            spoilt["completions"] = spoilt["completions"][:1]
        case 2:
            spoilt["instruction"] = ""
        case _:
            for item in spoilt["completions"]:
                item["overall_score"] = None
    return spoilt


def _disguise(kind: str, row: Row, rng: random.Random) -> Row:
    again = copy.deepcopy(row)
    if kind == "dialogues":
        again["data"][0] = disguised(row["data"][0], rng=rng)
    else:
        again["instruction"] = disguised(row["instruction"], rng=rng)
    return again


def _tie(kind: str, row: Row, rng: random.Random) -> Row:
    tied = copy.deepcopy(row)
    for item in tied["completions"]:
        item["overall_score"] = 7.0
        item["fine-grained_score"] = 4.0
        for aspect in item["annotations"].values():
            aspect["Rating"] = "4"
    return tied


def _about(kind: str, row: Row, question: str) -> Row:
    """A row that asks a held-out question."""
    asked = copy.deepcopy(row)
    if kind == "dialogues":
        asked |= {"id": f"{row['id']}-asked", "data": [question, row["data"][1]]}
    else:
        asked["instruction"] = question
    return asked


def _best(kind: str, row: Row) -> str:
    if kind == "dialogues":
        return row["data"][1]
    return max(row["completions"], key=lambda item: item["overall_score"])["response"]


def _shows_case(kind: str, row: Row) -> bool:
    """Lower case shows in the answer, and makes no two completions of a rated row the same."""
    if kind == "ratings":
        lowered = {item["response"].lower() for item in row["completions"]}
        if len(lowered) < len(row["completions"]):
            return False
    return sum(map(str.isalpha, _best(kind, row))) >= 24


def plant(
    kind: str, rows: Sequence[Row], *, held_out: Sequence[str], rng: random.Random
) -> tuple[list[Row], dict[str, list[int]]]:
    """The rows with dirt among them, and the line numbers (from 1) of each kind of dirt."""
    order = list(range(len(rows)))
    rng.shuffle(order)
    wordy = [index for index in order if _shows_case(kind, rows[index])]
    marked: dict[int, str] = dict.fromkeys(wordy[: COUNTS["lower_case"]], "lower_case")
    free = iter([index for index in order if index not in marked])
    spoilers: dict[str, Callable[[str, Row, random.Random], Row]] = {
        "refusal": _refuse,
        "lower_case": _lower,
        "broken": _break,
        "tie": _tie,
    }
    spoil = {"refusal": COUNTS["refusal"], "broken": COUNTS["broken"]}
    if kind == "ratings":
        spoil["tie"] = TIES
    for name, count in spoil.items():
        marked |= {next(free): name for _ in range(count)}
    lines: list[tuple[str, Row]] = [
        (marked.get(index, ""), spoilers[marked[index]](kind, row, rng) if index in marked else row)
        for index, row in enumerate(rows)
    ]
    copies = [("exact_duplicate", rows[next(free)]) for _ in range(COUNTS["exact_duplicate"])]
    copies += [
        ("near_duplicate", _disguise(kind, rows[next(free)], rng))
        for _ in range(COUNTS["near_duplicate"])
    ]
    copies += [
        ("overlap", _about(kind, rows[next(free)], disguised(question, rng=rng)))
        for question in rng.sample(list(held_out), COUNTS["overlap"])
    ]
    for item in copies:
        lines.insert(rng.randrange(len(lines) + 1), item)
    planted: dict[str, list[int]] = {}
    for number, (name, _row) in enumerate(lines, start=1):
        if name:
            planted.setdefault(name, []).append(number)
    return [row for _, row in lines], planted
