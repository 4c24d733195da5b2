"""How often does a judge agree with people, and people with each other?

The arithmetic of arXiv 2306.05685, table 5, as in FastChat 0e6d3e4, compute_agreement.py: every
human vote is held against the judge's verdict on its item (no majority is formed), and every two
votes on one item against each other; a verdict that changes with the order of the answers is a
tie; "without ties" drops the comparisons in which either side is one.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from zephyrctl.evaluation.mt_bench.protocol import CATEGORIES, category_of
from zephyrctl.evaluation.statistics import Interval, bootstrap_mean, bootstrap_of
from zephyrctl.evaluation.votes import Item, Opinion, Winner, mirrored

_LABELS: tuple[Winner, ...] = ("model_1", "model_2", "tie")
_NO_CATEGORY = "unknown"
"""Of questions that are not MT-Bench's own."""


@dataclass(frozen=True)
class Compared:
    """Two opinions on one item."""

    question_id: int | str
    a: Winner
    b: Winner

    @property
    def agrees(self) -> bool:
        return self.a == self.b

    @property
    def has_tie(self) -> bool:
        return "tie" in (self.a, self.b)


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval, from questions drawn with replacement."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """As in a judge's card; NaN becomes null."""
        return {"value": self.value, "low": self.low, "high": self.high}


def of_turn(votes: Iterable[Opinion], turn: int) -> list[Opinion]:
    """The opinions on one turn."""
    return [vote for vote in votes if vote.item[1] == turn]


def with_people(verdicts: Mapping[Item, Opinion], votes: Iterable[Opinion]) -> list[Compared]:
    """The judge's verdict (a) beside each vote (b) on the same item."""
    return [
        Compared(vote.item[0], verdicts[vote.item].winner, vote.winner)
        for vote in votes
        if vote.item in verdicts
    ]


def among_people(votes: Iterable[Opinion]) -> list[Compared]:
    """Every two votes on one item."""
    by_item: dict[Item, list[Winner]] = defaultdict(list)
    for vote in votes:
        by_item[vote.item].append(vote.winner)
    return [
        Compared(item[0], a, b)
        for item, winners in by_item.items()
        for a, b in combinations(winners, 2)
    ]


def without_ties(compared: Sequence[Compared]) -> list[Compared]:
    """The comparisons in which both sides name a winner."""
    return [pair for pair in compared if not pair.has_tie]


def counted(compared: Sequence[Compared]) -> dict[str, int]:
    """`agree` and `total`."""
    return {"agree": sum(pair.agrees for pair in compared), "total": len(compared)}


def counts(judge: Sequence[Compared], people: Sequence[Compared]) -> dict[str, dict[str, int]]:
    """The four counts of the paper's table: judge and human, human and human, each with and
    without ties."""
    return {
        "with_ties": counted(judge),
        "without_ties": counted(without_ties(judge)),
        "human_human_with_ties": counted(people),
        "human_human_without_ties": counted(without_ties(people)),
    }


def table(judge: Sequence[Compared], people: Sequence[Compared]) -> dict[str, Any]:
    """The counts over all questions, and under `by_category` those of each category."""
    by_category = {}
    for name in (*CATEGORIES, None):
        parts = [
            [pair for pair in some if category_of(pair.question_id) == name]
            for some in (judge, people)
        ]
        if any(parts):
            by_category[name or _NO_CATEGORY] = counts(*parts)
    return {**counts(judge, people), "by_category": by_category}


def rate(compared: Sequence[Compared], *, replicates: int, seed: int) -> Interval:
    """The share that agrees, with its interval clustered by question within categories."""
    return share(
        [(pair.question_id, pair.agrees) for pair in compared], replicates=replicates, seed=seed
    )


def share(found: Sequence[tuple[int | str, bool]], *, replicates: int, seed: int) -> Interval:
    """The share of true values, each with its question, with an interval as in `rate`."""
    groups = [question for question, _ in found]
    strata: dict[Hashable, Hashable] = {name: category_of(name) for name in groups}
    values = [float(value) for _, value in found]
    return bootstrap_mean(values, groups, replicates=replicates, seed=seed, strata=strata)


def kappa(
    compared: Sequence[Compared], *, replicates: int, seed: int, exchangeable: bool = False
) -> Estimate:
    """Cohen's κ over win, loss and tie (Educ. Psychol. Meas. 20, 1960, 37, eq. 1).

    Every comparison is counted with its models in both orders, so that κ does not depend on which
    model is called the first. `exchangeable` does the same with the two opinions, for pairs of
    people who have no order. NaN where chance alone would agree always.
    """
    questions = list(dict.fromkeys(pair.question_id for pair in compared))
    place = {question: index for index, question in enumerate(questions)}
    cells = np.zeros((len(questions), 3, 3))
    for pair in compared:
        for a, b in ((pair.a, pair.b), (mirrored(pair.a), mirrored(pair.b))):
            cells[place[pair.question_id], _LABELS.index(a), _LABELS.index(b)] += 1
    if exchangeable:
        cells = cells + cells.transpose(0, 2, 1)
    if not compared:
        return Estimate(math.nan, math.nan, math.nan)
    value = _kappa(cells.sum(axis=0))
    if len(questions) < 2:
        return Estimate(value, math.nan, math.nan)
    drawn = bootstrap_of(
        lambda indices: _kappa(cells[indices].sum(axis=0)),
        len(questions),
        replicates=replicates,
        seed=seed,
    )
    low, high = (
        np.nanquantile(drawn, [0.025, 0.975]) if not np.isnan(drawn).all() else (math.nan,) * 2
    )
    return Estimate(value, float(low), float(high))


def _kappa(cells: np.ndarray) -> float:
    """κ of a table (3, 3) of counts."""
    total = cells.sum()
    observed = np.trace(cells) / total
    expected = float(cells.sum(axis=1) @ cells.sum(axis=0)) / total**2
    return float((observed - expected) / (1 - expected)) if expected < 1 else math.nan
