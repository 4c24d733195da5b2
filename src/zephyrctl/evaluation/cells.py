"""What do values of questions and turns come to?

A cell is one turn of one question; its value is the mean over repeats. Intervals draw whole
questions, within their category.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence

from zephyrctl.errors import DataError
from zephyrctl.evaluation.benchmark import Answer, Question, QuestionId
from zephyrctl.evaluation.statistics import Interval, Scale, bootstrap_mean

Cell = tuple[QuestionId, int]
"""A question and one of its turns."""


def asked_cells(questions: Sequence[Question]) -> set[Cell]:
    """Every turn of every question."""
    return {
        (question.question_id, turn)
        for question in questions
        for turn in range(1, len(question.turns) + 1)
    }


def replies_of(answers: Sequence[Answer]) -> dict[tuple[QuestionId, int], list[str]]:
    """The answers of each (question, repeat) in the order of their turns.

    Raises DataError where a turn is answered and an earlier one is not.
    """
    said: dict[tuple[QuestionId, int], dict[int, str]] = defaultdict(dict)
    for answer in answers:
        said[(answer.question_id, answer.sample)][answer.turn] = answer.text
    for (question, _), turns in said.items():
        if set(turns) != set(range(1, len(turns) + 1)):
            raise DataError(
                f"question {question}: turn {max(turns)} is answered and an earlier one is not"
            )
    return {place: [turns[turn] for turn in sorted(turns)] for place, turns in said.items()}


def cell_interval(
    means: Mapping[Cell, float],
    questions: Sequence[Question],
    *,
    replicates: int,
    seed: int,
    scale: Scale,
) -> Interval:
    """The mean of cells on a `scale`, drawn by question within its category."""
    strata: dict[Hashable, Hashable] = {q.question_id: q.category for q in questions}
    return bootstrap_mean(
        list(means.values()),
        [question for question, _ in means],
        replicates=replicates,
        seed=seed,
        strata=strata,
        scale=scale,
    )


def by_category(
    means: Mapping[Cell, float], questions: Sequence[Question]
) -> dict[str, dict[Cell, float]]:
    """The cells of each category, in the order of the questions; no entry for one without cells."""
    category = {question.question_id: question.category for question in questions}
    found: dict[str, dict[Cell, float]] = {name: {} for name in dict.fromkeys(category.values())}
    for cell, mean in means.items():
        found[category[cell[0]]][cell] = mean
    return {name: cells for name, cells in found.items() if cells}


def question_means(means: Mapping[Cell, float]) -> dict[Hashable, float]:
    """The mean of each question over its turns."""
    turns: dict[Hashable, list[float]] = defaultdict(list)
    for (question, _), mean in means.items():
        turns[question].append(mean)
    return {question: sum(values) / len(values) for question, values in turns.items()}


def bounds(interval: Interval) -> dict[str, float | int]:
    """An interval as it stands in `scores.json`."""
    return {
        "value": interval.value,
        "low": interval.low,
        "high": interval.high,
        "n": interval.n,
    }
