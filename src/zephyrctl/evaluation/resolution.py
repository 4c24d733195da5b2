"""How much more would have to be measured to tell two models apart?

The difference of two models varies from question to question, and from repeat to repeat of one
question (dice of the answers and of the judge). More repeats make only the second part smaller.
With two or more repeats both parts can be estimated, with one they cannot be told apart.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, variance

from zephyrctl.evaluation.statistics import Z95, strata_of

Repeated = Mapping[Hashable, Sequence[float]]
"""The values of each question, one a repeat."""


_ROUNDING = 1e-12


@dataclass(frozen=True)
class Resolution:
    """What would make the 95 % interval of a paired difference leave out 0, if the difference is
    really as large as it was found.

    `repeats_needed` counts all repeats of each model; None where no number can do it, because the
    questions themselves differ too much. With `is_bound` fewer repeats cannot do it and even more
    may not: with one repeat, nobody knows how much of the spread is luck. `questions_needed`
    counts questions like these, at the present number of repeats; None where the difference is 0.
    `luck` is the share of the difference's variance that repeats can take away, None if unknown.
    """

    repeats: int
    repeats_needed: int | None
    is_bound: bool
    questions_needed: int | None
    luck: float | None


def repeats_to_resolve(
    a: Repeated, b: Repeated, *, strata: Mapping[Hashable, Hashable] | None = None
) -> Resolution:
    """What it would take to tell `b` from `a` on the questions that both answered.

    Var(b − a) = B + L / K for K repeats: B between questions (within their category), L the mean
    variance over a question's repeats, of both models together, both divided by the number of
    questions. The interval leaves out 0 where (b − a)² > z² (B + L / K).
    """
    shared = [question for question in a if question in b]
    repeats = min(max((len(of[q]) for q in shared), default=1) for of in (a, b))
    if len(shared) < 2:
        return Resolution(repeats, None, False, None, None)
    differences = {question: fmean(b[question]) - fmean(a[question]) for question in shared}
    value = fmean(differences.values())
    # As the bootstrap does where the questions of each category are all the same.
    total = _variance_of_mean(differences, strata) or _variance_of_mean(differences, None)
    # A spread that is nothing but rounding is none.
    size = max(abs(x) for of in (a, b) for question in shared for x in of[question])
    if abs(value) <= _ROUNDING * size or total <= (_ROUNDING * size) ** 2:
        return Resolution(repeats, None, False, None, None)
    allowed = (value / Z95) ** 2
    questions_needed = math.ceil(len(shared) * total / allowed)
    if repeats < 2:
        return Resolution(repeats, math.ceil(total / allowed), True, questions_needed, None)
    luck_now = luck_each = 0.0
    for of in (a, b):
        each = _luck([of[question] for question in shared])
        luck_each += each / len(shared)
        luck_now += sum(each / len(of[question]) for question in shared) / len(shared) ** 2
    between = max(total - luck_now, 0.0)
    share = min(luck_now / total, 1.0)
    if luck_each == 0 or between >= allowed:
        return Resolution(repeats, None, False, questions_needed, share)
    needed = math.floor(luck_each / (allowed - between)) + 1
    return Resolution(repeats, needed, False, questions_needed, share)


def _luck(repeated: Sequence[Sequence[float]]) -> float:
    """The variance of one repeat, the mean over the questions that have two or more."""
    return fmean(variance(values) for values in repeated if len(values) > 1)


def _variance_of_mean(
    values: Mapping[Hashable, float], strata: Mapping[Hashable, Hashable] | None
) -> float:
    """The variance of the mean over questions that are drawn within their categories."""
    return sum(
        len(of) * variance([values[question] for question in of]) / len(values) ** 2
        for of in strata_of(list(values), strata)
    )
