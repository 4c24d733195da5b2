"""Who preferred which of two answers? Read the votes of people and the verdicts of judges.

Votes are those of lmsys/mt_bench_human_judgments (CC-BY-4.0, arXiv 2306.05685): one row per voter
and pair, with or without the answers' texts. Verdicts are such rows too, or FastChat's pairwise
judgments with a winner for each order (`g1_winner`, `g2_winner`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from zephyrctl.errors import DataError
from zephyrctl.evaluation.mt_bench.games import ORDERS, outcome, whole, winner_of
from zephyrctl.evaluation.repairs import is_repair

Winner = Literal["model_1", "model_2", "tie"]
Item = tuple[int | str, int, str, str]
"""What is voted on: question, turn, and the two models in alphabetical order."""

_MIRRORED: dict[str, Winner] = {"model_1": "model_2", "model_2": "model_1", "tie": "tie"}
_LABELS: dict[str, Winner] = {
    "model_a": "model_1", "model_1": "model_1", "model_b": "model_2", "model_2": "model_2",
    "tie": "tie", "tie (inconsistent)": "tie",
}  # fmt: skip
_VOTE_HINT = "a winner is model_a, model_b or tie"


@dataclass(frozen=True)
class Opinion:
    """One vote or verdict: the winner in terms of the item's two models.

    `is_consistent` is false where a judge's two orders disagree, which counts as a tie.
    """

    item: Item
    winner: Winner
    voter: str
    is_consistent: bool = True


@dataclass(frozen=True)
class HumanVotes:
    """The votes of experts, and how many others the file holds (of authors, of models)."""

    votes: tuple[Opinion, ...]
    authors: int
    models: int


@dataclass(frozen=True)
class Verdicts:
    """A judge's verdict per item; of several on one item the last row counts.

    `errors` are items whose verdict could not be read.
    """

    by_item: Mapping[Item, Opinion]
    duplicates: int
    errors: int


def read_human_votes(path: Path) -> HumanVotes:
    """The votes of a file. Votes of the paper's authors are left out of every published figure."""
    return human_votes(list(read_rows(path)))


def human_votes(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> HumanVotes:
    """`read_human_votes` of rows with their places; DataError for a vote that cannot be read."""
    votes: list[Opinion] = []
    authors = models = 0
    for where, row in rows:
        voter = row.get("judge")
        if not isinstance(voter, str):  # ["gpt-4", "pair-v2"]
            models += 1
        elif voter.startswith("author"):
            authors += 1
        else:
            opinion = _vote(row, where)
            if opinion is None:
                raise DataError(f"'{row.get('winner')}' is no vote", where=where, hint=_VOTE_HINT)
            votes.append(opinion)
    return HumanVotes(tuple(votes), authors, models)


def read_verdicts(path: Path) -> Verdicts:
    """A judge's verdicts on pairs of answers."""
    found: dict[Item, Opinion | None] = {}
    games = []
    duplicates = 0
    for where, row in read_rows(path):
        if _played(row):
            _item(row, where)
            games.append({"judge": "unknown", "turn": 1, **row})
            continue
        opinion = _vote(row, where)
        item, _ = _item(row, where)
        duplicates += item in found
        found[item] = opinion
    from_games = verdicts_of(games)
    duplicates += from_games.duplicates + len(found.keys() & from_games.by_item)
    good = {item: opinion for item, opinion in found.items() if opinion is not None}
    errors = len(found) - len(good) + from_games.errors
    return Verdicts({**good, **from_games.by_item}, duplicates, errors)


def verdicts_of(rows: Sequence[Mapping[str, Any]]) -> Verdicts:
    """The verdicts of pairwise judgments, with both games in a row or one."""
    seen = [
        (row["question_id"], row["turn"], row["model_1"], row["model_2"], row.get("sample", 0), o)
        for row in rows
        if not is_repair(row)
        for o in _played(row)
    ]
    found: dict[Item, Opinion | None] = {}
    joined = whole(rows)
    for row in joined:
        item, swapped = _item(row, "")
        winner = _LABELS.get(outcome(row))
        same = winner_of(row, 1) == winner_of(row, 2)
        found[item] = (
            None
            if winner is None
            else Opinion(item, _MIRRORED[winner] if swapped else winner, _voter(row), same)
        )
    good = {item: opinion for item, opinion in found.items() if opinion is not None}
    duplicates = len(seen) - len(set(seen)) + len(joined) - len(found)
    return Verdicts(good, duplicates, len(found) - len(good))


def read_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a JSON, JSONL or Parquet file, each with its place."""
    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet

            rows: list[Any] = pyarrow.parquet.read_table(path).to_pylist()
        else:
            rows = _parsed(path.read_text(encoding="utf-8-sig"), path)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path.name}: {error}", where=str(path)) from None
    for number, row in enumerate(rows, start=1):
        where = f"{path}:{number}"
        if not isinstance(row, dict):
            raise DataError("a row must be a JSON object", where=where)
        yield where, row


def mirrored(winner: Winner) -> Winner:
    """The same winner where the two models change places."""
    return _MIRRORED[winner]


def _parsed(text: str, path: Path) -> list[Any]:
    if text.lstrip().startswith("["):
        rows = json.loads(text)
        return rows if isinstance(rows, list) else [rows]
    found = []
    # Not splitlines(): JSON may hold U+2028 as it is, which is a line's end only to Python.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            found.append(json.loads(line))
        except ValueError as error:
            raise DataError(f"not a line of JSON: {error}", where=f"{path}:{number}") from None
    return found


def _item(row: Mapping[str, Any], where: str) -> tuple[Item, bool]:
    """The item of a row, and whether the row names its models the other way round."""
    names = ("model_a", "model_b") if "model_a" in row else ("model_1", "model_2")
    missing = [name for name in ("question_id", *names) if name not in row]
    if missing:
        raise DataError(
            f"'{missing[0]}' is missing",
            where=where,
            hint="a row needs question_id, turn, model_a, model_b, winner and judge",
        )
    first, second = str(row[names[0]]), str(row[names[1]])
    swapped = second < first
    if swapped:
        first, second = second, first
    return (row["question_id"], int(row.get("turn", 1)), first, second), swapped


def _vote(row: Mapping[str, Any], where: str) -> Opinion | None:
    """The opinion of a row with one winner, or None where it names none."""
    item, swapped = _item(row, where)
    label = str(row.get("winner"))
    winner = _LABELS.get(label)
    if winner is None:
        return None
    is_consistent = label != "tie (inconsistent)"
    return Opinion(item, _MIRRORED[winner] if swapped else winner, _voter(row), is_consistent)


def _played(row: Mapping[str, Any]) -> list[int]:
    """The orders of which a row holds a game."""
    return [order for order in ORDERS if f"g{order}_winner" in row]


def _voter(row: Mapping[str, Any]) -> str:
    voter = row.get("judge")
    return str(voter[0]) if isinstance(voter, list) and voter else str(voter)
