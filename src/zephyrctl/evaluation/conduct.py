"""How do a model's answers behave, whatever they are worth? Refusals, hedges, ends and length.

Measured by code on every benchmark's answers, with the detectors that filter the training data,
so that alignment that makes a model annoying is seen beside its score.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Any

from zephyrctl.data.refusals import find_hedge, find_refusal
from zephyrctl.evaluation.benchmark import Answer, Benchmark, Match, Score, Scores
from zephyrctl.evaluation.doubts import doubts
from zephyrctl.evaluation.statistics import RATE, Interval, bootstrap_mean

MEASURES: dict[str, Callable[[Answer], float]] = {
    "refusal_rate": lambda answer: float(find_refusal(answer.text) is not None),
    "hedging_rate": lambda answer: float(find_hedge(answer.text) is not None),
    "stopped_rate": lambda answer: float(answer.stopped),
    "mean_words": lambda answer: float(len(answer.text.split())),
}
"""Metrics of conduct. Rates are shares of the answers; a later turn is an answer of its own."""
RATES = frozenset(metric for metric in MEASURES if metric.endswith("_rate"))


def with_conduct(
    scores: Scores,
    answers: Sequence[Answer],
    *,
    benchmark: Benchmark,
    match: Match,
    replicates: int,
    seed: int,
) -> Scores:
    """`scores` with the conduct of the match's model and what is to be doubted about it.

    `answers` are the model's own. Of a pair that nobody judged alone, the opponent is added by a
    second call; `details` stay the first one's. The metrics come after the benchmark's; code
    decides them, and they carry the name of the benchmark's judge only so that a model's scores
    stay together. Where no score stands, for want of verdicts, the conduct is in `details` alone.
    """
    measured = _measured(answers, benchmark, replicates=replicates, seed=seed)
    added = tuple(
        Score.of(
            interval,
            benchmark=benchmark.name,
            model=match.model,
            judge=benchmark.judge_name,
            metric=metric,
        )
        for metric, interval in measured.items()
    )
    methods = {metric: interval.method for metric, interval in measured.items()}
    details: dict[str, Any] = {
        "answers": len(answers),
        "truncated": sum(not answer.stopped for answer in answers),
        "mean_tokens": sum(a.tokens for a in answers) / len(answers) if answers else None,
        "repeats": benchmark.repeats,
        **scores.details,
        "method": {**methods, **scores.details.get("method", {})},
    }
    if not scores.scores:
        known = scores.details.get("conduct", [])
        details["conduct"] = [*known, *(score.to_json() for score in added)]
        added = ()
    warned = doubts(answers, benchmark.questions, model=match.model)
    new = tuple(text for text in warned if text not in scores.notices)
    return replace(
        scores,
        scores=(*scores.scores, *added),
        details=details,
        notices=(*scores.notices, *new),
    )


def _measured(
    answers: Sequence[Answer], benchmark: Benchmark, *, replicates: int, seed: int
) -> dict[str, Interval]:
    """Each measure's mean, drawn by question within its category."""
    strata: dict[Hashable, Hashable] = {q.question_id: q.category for q in benchmark.questions}
    questions = [answer.question_id for answer in answers]
    return {
        metric: bootstrap_mean(
            [measure(answer) for answer in answers],
            questions,
            replicates=replicates,
            seed=seed,
            strata=strata,
            scale=RATE if metric in RATES else None,
        )
        for metric, measure in MEASURES.items()
    }
