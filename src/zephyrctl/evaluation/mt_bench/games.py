"""Who won the games of a pair, and what do many pairs come to?

A game shows one model first; two games, one in each order, decide a pair. Rows have the names of
FastChat's `model_judgment/<judge>_pair.jsonl`: a game has the fields of its order (`g1_…` shows
model_1 first), and `whole` joins the two games of a pair into upstream's row. model_1 is the
match's model, model_2 its opponent.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zephyrctl.evaluation.benchmark import Judgment
from zephyrctl.evaluation.cells import Cell
from zephyrctl.evaluation.judges.contract import JudgeReply, JudgeRequest
from zephyrctl.evaluation.mt_bench.protocol import pair_outcome, pair_winner
from zephyrctl.evaluation.repairs import is_repair
from zephyrctl.evaluation.verdicts import bare_option, probabilities

ORDERS = (1, 2)
VALUES = {"model_1": 1.0, "tie": 0.5, "model_2": 0.0}
"""What an outcome is worth to model_1."""


@dataclass(frozen=True)
class Outcomes:
    """Pairs counted. `values` is what each cell is worth to model_1, `shares` how many of its
    repeats have an outcome; `flips` counts pairs whose verdict changed with the order."""

    values: Mapping[Cell, float]
    shares: Mapping[Cell, float]
    counts: Mapping[str, int]
    flips: int
    first_wins: int
    decided_games: int
    repaired: int
    by_probability: int

    @property
    def n(self) -> int:
        """Pairs with an outcome."""
        return sum(self.counts[name] for name in VALUES)

    @property
    def games(self) -> int:
        """Games of all pairs, in both orders."""
        return len(ORDERS) * sum(self.counts.values())

    @classmethod
    def of(cls, judgments: Sequence[Judgment]) -> Outcomes:
        """Count the last verdict of each game."""
        rows = whole(judgments)
        worth: dict[Cell, list[float]] = defaultdict(list)
        total: Counter[Cell] = Counter()
        for row in rows:
            cell = (row["question_id"], row["turn"])
            total[cell] += 1
            found = outcome(row)
            if found in VALUES:
                worth[cell].append(VALUES[found])
        games = [(order, winner_of(row, order)) for row in rows for order in ORDERS]
        decided = [(order, winner) for order, winner in games if winner in ("model_1", "model_2")]
        return cls(
            values={cell: sum(values) / len(values) for cell, values in worth.items()},
            shares={cell: len(values) / total[cell] for cell, values in worth.items()},
            counts=Counter(outcome(row) for row in rows),
            flips=sum(
                outcome(row) != "error" and winner_of(row, 1) != winner_of(row, 2) for row in rows
            ),
            first_wins=sum(winner == f"model_{order}" for order, winner in decided),
            decided_games=len(decided),
            repaired=sum(
                f"g{order}_repaired" in row and winner_of(row, order) != "error"
                for row in rows
                for order in ORDERS
            ),
            by_probability=sum(
                f"g{order}_probabilities" in row for row in rows for order in ORDERS
            ),
        )

    def details(self) -> dict[str, Any]:
        """The entries of `scores.json`; a rate of nothing is None, `win_rate` counts wins alone."""
        return {
            "n": self.n,
            "win_rate": self.counts["model_1"] / self.n if self.n else None,
            "wins": self.counts["model_1"],
            "ties": self.counts["tie"],
            "losses": self.counts["model_2"],
            "errors": self.counts["error"],
            "unparsed": self.counts["error"],
            "order_flips": self.flips,
            "order_flip_rate": self.flips / self.n if self.n else None,
            "shown_first_wins": (
                self.first_wins / self.decided_games if self.decided_games else None
            ),
            "repaired": self.repaired,
            "by_probability": self.by_probability,
        }


def game_row(request: JudgeRequest, reply: JudgeReply, *, judge: str) -> Judgment:
    """One game of a pair, in the fields of its order."""
    model_1, model_2 = request.models
    order = request.order
    chances = probabilities(reply, request.options) if request.options else None
    if chances is not None:
        letter = max(chances, key=lambda option: chances[option])
    else:
        letter = bare_option(reply.text, request.options)
    said = reply.text if letter is None else f"[[{letter}]]"
    row: Judgment = {
        "question_id": request.question_id,
        "model_1": model_1,
        "model_2": model_2,
        f"g{order}_winner": pair_winner(order, said),
        "judge": [judge, request.prompt_name],
        f"g{order}_user_prompt": request.user,
        f"g{order}_judgment": reply.text,
        "turn": request.turn,
    }
    return row if chances is None else {**row, f"g{order}_probabilities": chances}


def whole(rows: Sequence[Mapping[str, Any]]) -> list[Judgment]:
    """The games of each pair joined into one row; of a game the last row counts.

    Rows that hold both games, as FastChat's do, stay as they are. A repaired game is marked by
    `g<order>_repaired`.
    """
    found: dict[tuple[Any, ...], Judgment] = {}
    for row in rows:
        judge = row["judge"]
        name = judge[0] if isinstance(judge, list) else judge
        place = (
            row["question_id"], row["turn"], row["model_1"], row["model_2"], name,
            row.get("sample", 0),
        )  # fmt: skip
        joined = found.setdefault(place, {})
        for order in ORDERS:
            if f"g{order}_winner" in row:
                for field in ("repaired", "probabilities"):
                    joined.pop(f"g{order}_{field}", None)
                if is_repair(row):
                    joined[f"g{order}_repaired"] = True
        joined |= row
    return list(found.values())


def winner_of(row: Mapping[str, Any], order: int) -> str:
    """Who won a game; `error` for one that was not played or not decided."""
    return str(row.get(f"g{order}_winner", "error"))


def outcome(row: Mapping[str, Any]) -> str:
    """`model_1`, `model_2`, `tie` or `error` over both orders.

    Where both games have probabilities, the likeliest verdict in their mean; else upstream's rule.
    """
    first, second = row.get("g1_probabilities"), row.get("g2_probabilities")
    if first is None or second is None:
        return pair_outcome(winner_of(row, 1), winner_of(row, 2))
    one, two, tie = (
        first["A"] + second["B"], first["B"] + second["A"], first["C"] + second["C"],
    )  # fmt: skip
    if tie >= max(one, two) or one == two:
        return "tie"
    return "model_1" if one > two else "model_2"


def upstream_rates(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | int | None]:
    """show_result.py's row of model_1: errors dropped, `win_rate_adjusted` counts ties half."""
    counts = Counter(pair_outcome(winner_of(row, 1), winner_of(row, 2)) for row in rows)
    win, loss, tie = counts["model_1"], counts["model_2"], counts["tie"]
    n = win + loss + tie
    return {
        "win": win,
        "loss": loss,
        "tie": tie,
        "win_rate": win / n if n else None,
        "loss_rate": loss / n if n else None,
        "win_rate_adjusted": (win + tie / 2) / n if n else None,
    }
