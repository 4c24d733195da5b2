"""Is one model better than another on the questions both answered? (difference = b − a)"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from zephyrctl.evaluation.benchmark import Benchmark, Scores
from zephyrctl.evaluation.statistics import paired_difference


@dataclass(frozen=True)
class Comparison:
    """The paired difference b − a of a benchmark's main metric, with its 95 % interval.

    `p_better` is the share of bootstrap replicates in which b is better; `wins` counts the
    questions that b does better than a.
    """

    benchmark: str
    a: str
    b: str
    metric: str
    judge: str | None
    difference: float
    low: float
    high: float
    n: int
    p_better: float
    wins: int
    ties: int
    losses: int
    method: str

    def to_json(self) -> dict[str, Any]:
        """The entry of `comparisons.json`."""
        return asdict(self)


def pairs(models: Sequence[str], *, baseline: str | None) -> list[tuple[str, str]]:
    """Which models are compared, the earlier one first.

    Each with the one before it and the last with the first; with a `baseline`, each with that.
    """
    if baseline is not None:
        return [(baseline, model) for model in models if model != baseline]
    found = list(pairwise(models))
    if len(models) > 2:
        found.append((models[0], models[-1]))
    return found


def compare(
    benchmark: Benchmark,
    scores: Mapping[str, Scores],
    *,
    baseline: str | None,
    replicates: int,
    seed: int,
) -> list[Comparison]:
    """Every comparison of the models in `scores` (in the order of the recipe)."""
    strata: dict[Hashable, Hashable] = {
        question.question_id: question.category for question in benchmark.questions
    }
    return [
        _compare(benchmark, a, b, scores, strata=strata, replicates=replicates, seed=seed)
        for a, b in pairs(list(scores), baseline=baseline)
        if scores[a].scores and scores[b].scores
    ]


def _compare(
    benchmark: Benchmark,
    a: str,
    b: str,
    scores: Mapping[str, Scores],
    *,
    strata: Mapping[Hashable, Hashable],
    replicates: int,
    seed: int,
) -> Comparison:
    before, after = scores[a].by_question, scores[b].by_question
    found = paired_difference(before, after, replicates=replicates, seed=seed, strata=strata)
    shared = [question for question in before if question in after]
    wins = sum(after[question] > before[question] for question in shared)
    losses = sum(after[question] < before[question] for question in shared)
    return Comparison(
        benchmark=benchmark.name,
        a=a,
        b=b,
        metric=scores[b].scores[0].metric,
        judge=benchmark.judge_name,
        difference=found.value,
        low=found.low,
        high=found.high,
        n=found.n,
        p_better=found.p_better,
        wins=wins,
        ties=len(shared) - wins - losses,
        losses=losses,
        method=found.method,
    )
