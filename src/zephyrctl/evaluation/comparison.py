"""Is one model better than another on the questions both answered? (difference = b − a)"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any

from zephyrctl.evaluation.benchmark import Benchmark, Judgment, Match, Scores
from zephyrctl.evaluation.resolution import Repeated, repeats_to_resolve
from zephyrctl.evaluation.statistics import RATE, Scale, paired_difference
from zephyrctl.evaluation.verdicts import RATING_SCALE


@dataclass(frozen=True)
class Comparison:
    """The paired difference b − a of a benchmark's main metric, with its 95 % interval.

    `p_better` is the share of bootstrap replicates in which b is better; `wins` counts the
    questions that b does better than a. `repeats_needed` and `questions_needed` say what would
    make the interval leave out 0 (see `resolution.Resolution`); where it does, they are what there
    is. `categories` holds `{difference, low, high, n}` by category.
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
    n_repeats: int = 1
    repeats_needed: int | None = None
    repeats_are_a_bound: bool = False
    questions_needed: int | None = None
    categories: Mapping[str, Mapping[str, float | int]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The entry of `comparisons.json`."""
        return asdict(self)


@dataclass(frozen=True)
class Measured:
    """What one model got on one benchmark, question by question; see `benchmark.Scores`."""

    name: str
    metric: str
    by_question: Mapping[Hashable, float]
    by_repeat: Repeated
    verdicts: Mapping[Hashable, float] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, scores: Scores) -> Measured:
        """By the benchmark's scores."""
        metric = scores.scores[0].metric
        return cls(name, metric, scores.by_question, scores.by_repeat, scores.verdicts)

    @property
    def repeated(self) -> Repeated:
        """The values of each question, one a repeat."""
        once = {question: (value,) for question, value in self.by_question.items()}
        return {**once, **self.by_repeat}


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


def by_repeat(
    benchmark: Benchmark, judgments: Sequence[Judgment], match: Match
) -> dict[Hashable, list[float]]:
    """Each question's value in every repeat, from the judgments of that repeat alone.

    Empty where there was one repeat.
    """
    found: dict[Hashable, list[float]] = {}
    for sample in range(benchmark.repeats if benchmark.repeats > 1 else 0):
        rows = [row for row in judgments if row.get("sample", 0) == sample]
        for question, value in benchmark.aggregate(rows, match).by_question.items():
            found.setdefault(question, []).append(value)
    return found


def compare(
    benchmark: Benchmark,
    scores: Mapping[str, Scores],
    *,
    baseline: str | None,
    replicates: int,
    seed: int,
) -> list[Comparison]:
    """Every comparison of the models in `scores` (in the order of the recipe) that have a score."""
    scored = {model: found for model, found in scores.items() if found.scores}
    strata: dict[Hashable, Hashable] = {
        question.question_id: question.category for question in benchmark.questions
    }
    found = [
        compare_two(
            Measured.of(a, scored[a]),
            Measured.of(b, scored[b]),
            benchmark=benchmark.name,
            judge=benchmark.judge_name,
            strata=strata,
            replicates=replicates,
            seed=seed,
        )
        for a, b in pairs(list(scores), baseline=baseline)
        if a in scored and b in scored
    ]
    return found if _has_luck(benchmark) else [without_repeats(item) for item in found]


def _has_luck(benchmark: Benchmark) -> bool:
    """Whether a repeat could come out otherwise: answers are drawn, or the judge may waver."""
    judge = benchmark.judged_by
    if judge is not None and not judge.is_deterministic:
        return True
    return any(not benchmark.sampling(q, sample=0).is_greedy for q in benchmark.questions)


def without_repeats(item: Comparison) -> Comparison:
    """What is needed where every repeat is the same: other questions, or nothing."""
    if item.low > 0 or item.high < 0:
        return item
    return replace(item, repeats_needed=None, repeats_are_a_bound=False)


def compare_two(
    a: Measured,
    b: Measured,
    *,
    benchmark: str,
    judge: str | None,
    strata: Mapping[Hashable, Hashable],
    replicates: int,
    seed: int,
) -> Comparison:
    """The comparison of two models by one judge; `strata` gives each question its category."""
    before, after = a.by_question, b.by_question
    scale = scale_of(b.metric, benchmark=benchmark)
    found = paired_difference(
        before, after, replicates=replicates, seed=seed, strata=strata, scale=scale
    )
    said_of_a, said_of_b = a.verdicts or before, b.verdicts or after
    shared = [question for question in said_of_a if question in said_of_b]
    wins = sum(said_of_b[question] > said_of_a[question] for question in shared)
    losses = sum(said_of_b[question] < said_of_a[question] for question in shared)
    is_resolved = found.low > 0 or found.high < 0
    needed = repeats_to_resolve(a.repeated, b.repeated, strata=strata)
    repeats, questions = needed.repeats_needed, needed.questions_needed
    if is_resolved:
        repeats, questions = needed.repeats, found.n
    else:  # the bootstrap's interval and the normal one may differ by a hair
        repeats = repeats and max(repeats, needed.repeats + 1)
        questions = questions and max(questions, found.n + 1)
    return Comparison(
        benchmark=benchmark,
        a=a.name,
        b=b.name,
        metric=b.metric,
        judge=judge,
        difference=found.value,
        low=found.low,
        high=found.high,
        n=found.n,
        p_better=found.p_better,
        wins=wins,
        ties=len(shared) - wins - losses,
        losses=losses,
        method=found.method,
        n_repeats=needed.repeats,
        repeats_needed=repeats,
        repeats_are_a_bound=needed.is_bound and not is_resolved,
        questions_needed=questions,
        categories=_by_category(
            said_of_a, said_of_b, strata, replicates=replicates, seed=seed, scale=scale
        ),
    )


def scale_of(metric: str, *, benchmark: str) -> Scale | None:
    """Between which values a main metric lies; None where nothing bounds it."""
    if metric == "average":
        return RATING_SCALE
    if not metric.partition("_vs_")[0].endswith(("rate", "winrate")):
        return None
    return (0.0, 100.0) if benchmark == "alpaca-eval" else RATE


def _by_category(
    before: Mapping[Hashable, float],
    after: Mapping[Hashable, float],
    strata: Mapping[Hashable, Hashable],
    *,
    replicates: int,
    seed: int,
    scale: Scale | None,
) -> dict[str, dict[str, float | int]]:
    """The paired difference within each category, where there are two or more."""
    members: dict[str, list[Hashable]] = {}
    for question in before:
        if question in after:
            members.setdefault(str(strata.get(question, "")), []).append(question)
    if len(members) < 2:
        return {}
    found: dict[str, dict[str, float | int]] = {}
    for category, questions in members.items():
        part = paired_difference(
            {question: before[question] for question in questions},
            {question: after[question] for question in questions},
            replicates=replicates,
            seed=seed,
            scale=scale,
        )
        found[category] = {
            "difference": part.value,
            "low": part.low,
            "high": part.high,
            "n": part.n,
        }
    return found
