"""What is there to see of a judged answer: the prompt, the text, the verdict and its reason?

Judgments of every benchmark become one shape, ours and those that were imported. What a row does
not hold itself (an imported one may hold neither prompt nor answer) is looked for in the file of
answers and in the judge's prompt; what is nowhere is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from zephyrctl.evaluation.exchange.standing import Judged, Row
from zephyrctl.evaluation.mt_bench.games import ORDERS, VALUES, outcome, whole, winner_of
from zephyrctl.runs.atomic import read_jsonl

Place = tuple[Any, int, int]
"""Question, turn and repeat."""

# The questions inside FastChat's judge prompts: of one turn, and of a conversation.
_FIRST_QUESTION = re.compile(r"\[(?:User )?Question\]\n(.*?)\n\n\[The Start of", re.DOTALL)
_LAST_QUESTION = re.compile(r".*### User:\n(.*?)\n\n### Assistant A:", re.DOTALL)


@dataclass(frozen=True)
class Said:
    """One model's answer with its verdict; `worth` orders answers, None where nothing was read."""

    model: str
    text: str | None
    verdict: str
    worth: float | None


@dataclass(frozen=True)
class Shown:
    """One judged turn: the answer of a model, or of two beside each other.

    `worth` orders them, the least first: what the first model got; beside another model that it
    was not compared with directly, how much more than that one. `remarks` are a judge's words or
    failed checks, with what they are about.
    """

    question_id: Any
    turn: int
    sample: int
    category: str
    prompt: str | None
    said: tuple[Said, ...]
    worth: float | None
    remarks: tuple[tuple[str, str], ...]

    def to_json(self) -> dict[str, Any]:
        """What `eval show --json` prints of it."""
        return {
            "question_id": self.question_id,
            "turn": self.turn,
            "sample": self.sample,
            "category": self.category,
            "prompt": self.prompt,
            "answers": [
                {"model": s.model, "text": s.text, "verdict": s.verdict, "worth": s.worth}
                for s in self.said
            ],
            "worth": self.worth,
            "remarks": [{"about": about, "text": text} for about, text in self.remarks],
        }


def shown_of(judged: Judged) -> list[Shown]:
    """Every judged turn of a match, in the order of the judgments."""
    rows = judged.rows
    if not rows:
        return []
    texts = _Texts(judged)
    if any("preference" in row for row in rows):
        return _preferences(rows, judged)
    if judged.match.opponent is not None or "model_1" in rows[0]:
        return [_pair(row, judged, texts) for row in whole(rows)]
    last = {_place(row): row for row in rows}
    return [_single(row, judged, texts) for row in last.values()]


def beside(mine: Sequence[Shown], theirs: Iterable[Shown]) -> list[Shown]:
    """Two models that were judged one by one, on the turns that both answered."""
    others = {(item.question_id, item.turn, item.sample): item for item in theirs}
    found = []
    for item in mine:
        other = others.get((item.question_id, item.turn, item.sample))
        if other is None:
            continue
        worth = (item.said[0].worth, other.said[0].worth)
        labelled = [
            (f"{whose.said[0].model}: {about}", text)
            for whose in (item, other)
            for about, text in whose.remarks
        ]
        found.append(
            replace(
                item,
                prompt=item.prompt or other.prompt,
                said=(*item.said, *other.said),
                worth=None if None in worth else float(worth[0] or 0) - float(worth[1] or 0),
                remarks=tuple(labelled),
            )
        )
    return found


def in_order(shown: Iterable[Shown], *, best: bool) -> list[Shown]:
    """The worst first, or the best; of equal ones the earlier stays earlier. What no verdict was
    read for is worse than everything."""
    return sorted(shown, key=lambda item: -1e9 if item.worth is None else item.worth, reverse=best)


class _Texts:
    """The answers of a match's models, read where a row lacks them."""

    def __init__(self, judged: Judged) -> None:
        self._judged = judged
        self._known: dict[str, dict[Place, str]] = {}

    def of(self, model: str, row: Mapping[str, Any]) -> str | None:
        """A model's answer to the turn of `row`; a greedy answer stands for every repeat."""
        if isinstance(row.get("answer"), str) and model == self._judged.match.model:
            return row["answer"]
        if model not in self._known:
            path = self._judged.answers.parents[1] / model / "answers.jsonl"
            rows = read_jsonl(path)
            self._known[model] = {_place(found): found["answer"] for found in reversed(rows)}
        known = self._known[model]
        question, turn, sample = _place(row)
        return known.get((question, turn, sample), known.get((question, turn, 0)))


def _single(row: Row, judged: Judged, texts: _Texts) -> Shown:
    """A rating, or the verdict of checks."""
    model = judged.match.model
    verdict, worth = _verdict(row)
    said = Said(model, texts.of(model, row), verdict, worth)
    remarks = [(check["name"], check["found"]) for check in row.get("checks", ()) if check["found"]]
    if row.get("judgment"):
        remarks.append(("judgment", row["judgment"]))
    return _shown(row, (said,), worth, remarks)


def _verdict(row: Mapping[str, Any]) -> tuple[str, float | None]:
    if "passed" in row:
        passed = row["passed"]
        return {True: "passed", False: "failed", None: "not checked"}[passed], (
            None if passed is None else float(passed)
        )
    rating = row.get("rating", row.get("score"))
    if not isinstance(rating, int | float) or rating < 0:
        return "no verdict", None
    return f"{rating:.3g} of 10", float(rating)


def _pair(row: Row, judged: Judged, texts: _Texts) -> Shown:
    """Both games of a pair; model_1 is the match's model where the row is ours."""
    names = (str(row["model_1"]), str(row["model_2"]))
    found = outcome(row)
    worth = VALUES.get(found)
    words = {
        "model_1": ("won", "lost"), "model_2": ("lost", "won"), "tie": ("tie", "tie"),
    }.get(found, ("no verdict", "no verdict"))  # fmt: skip
    ours = (judged.match.model, judged.match.opponent or names[1])
    said = tuple(
        Said(model, texts.of(model, row), word, value)
        for model, word, value in zip(
            ours, words, (worth, None if worth is None else 1 - worth), strict=True
        )
    )
    shown_first = {1: ours[0], 2: ours[1]}
    remarks = [
        (f"judgment, {shown_first[order]} first: {_winner(winner_of(row, order), ours)}", text)
        for order in ORDERS
        if (text := row.get(f"g{order}_judgment"))
    ]
    return _shown(row, said, worth, remarks)


def _winner(winner: str, names: tuple[str, str]) -> str:
    found = {"model_1": f"{names[0]} wins", "model_2": f"{names[1]} wins", "tie": "a tie"}
    return found.get(winner, "no verdict")


def _preferences(rows: Sequence[Row], judged: Judged) -> list[Shown]:
    """AlpacaEval's rows: one a pair and order, the orders of a pair united."""
    games: dict[Place, dict[int, Row]] = {}
    for row in rows:
        games.setdefault(_place(row), {})[int(row.get("order", 0))] = row
    found = []
    for orders in games.values():
        row = next(iter(orders.values()))
        chances = [game["preference"] for game in orders.values()]
        worth = None if None in chances else sum(chances) / len(chances) - 1
        names = (judged.match.model, str(row.get("generator_1", judged.match.opponent or "other")))
        shares = (worth, None if worth is None else 1 - worth)
        texts = (row.get("output_2"), row.get("output_1"))
        said = tuple(
            Said(name, text, "no verdict" if share is None else f"preferred {share:.0%}", share)
            for name, text, share in zip(names, texts, shares, strict=True)
        )
        remarks = [
            (f"judgment, {names[1] if order == 1 else names[0]} first", str(game["judgment"]))
            for order, game in sorted(orders.items())
            if game.get("judgment")
        ]
        found.append(_shown(row, said, worth, remarks))
    return found


def _shown(
    row: Row, said: tuple[Said, ...], worth: float | None, remarks: Sequence[tuple[str, str]]
) -> Shown:
    question, turn, sample = _place(row)
    category = str(row.get("category") or "")
    return Shown(question, turn, sample, category, _prompt(row), said, worth, tuple(remarks))


def _prompt(row: Mapping[str, Any]) -> str | None:
    """What the user said, by the row itself or inside the judge's prompt."""
    for name in ("prompt", "instruction"):
        if isinstance(row.get(name), str):
            return row[name]
    for name in ("user_prompt", "g1_user_prompt", "g2_user_prompt"):
        text = row.get(name)
        if isinstance(text, str):
            match = _FIRST_QUESTION.search(text) or _LAST_QUESTION.match(text)
            if match is not None:
                return match[1]
    return None


def _place(row: Mapping[str, Any]) -> Place:
    return row.get("question_id"), int(row.get("turn") or 1), int(row.get("sample") or 0)
