"""How sure is a score? Bootstrap intervals, clustered by question, and paired differences.

Questions are drawn, not answers: the turns and repeats of one question stand or fall together
(Miller, arXiv 2411.00640; MT-Bench's turns correlate 0.43 to 0.70). Drawing within categories keeps
a benchmark's fixed mix. Of n questions n − 1 are drawn: drawing n makes an interval too narrow by
√(1 − 1/n), which is 5 % for MT-Bench's ten questions of a category (Rao and Wu, J. Am. Stat. Assoc.
83, 1988, 231). Legend: Q questions, R replicates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from zephyrctl.data.rates import Z95, wilson

_AT_ONCE = 2_000_000
"""Draws in memory at once."""
Method = Literal["bootstrap", "wilson", "newcombe", "none"]
Scale = tuple[float, float]
"""The least and the greatest value that there can be."""
RATE: Scale = (0.0, 1.0)
_ALIKE = 1e-9


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval. `n` counts values, `questions` counts clusters.

    `method` is `wilson` (for a difference of rates `newcombe`) where all questions have the same
    value, so that the bootstrap would claim certainty; `none` where they have and the values know
    no bounds, or where there are fewer than two questions.
    """

    value: float
    low: float
    high: float
    n: int
    questions: int
    method: Method


@dataclass(frozen=True)
class Difference:
    """b − a over the questions both answered. `p_better` is the share of replicates in which b is
    better, ties counting half."""

    value: float
    low: float
    high: float
    n: int
    p_better: float
    method: Method


def bootstrap_mean(
    values: Sequence[float],
    groups: Sequence[Hashable] | None = None,
    *,
    replicates: int,
    seed: int,
    strata: Mapping[Hashable, Hashable] | None = None,
    scale: Scale | None = RATE,
) -> Interval:
    """The mean of `values` and its percentile interval.

    `groups` names the question of each value (None: every value is its own question); `strata`
    gives each question its category; `scale` bounds the values, None where nothing does. NaN
    bounds where there is nothing to draw from.
    """
    if not values:
        return Interval(math.nan, math.nan, math.nan, 0, 0, "none")
    sums, counts, strata_index = _clusters(values, groups, strata)
    mean = float(sums.sum() / counts.sum())
    questions = len(sums)
    if np.ptp(sums / counts) < _ALIKE and scale is not None and scale[0] <= mean <= scale[1]:
        low, high = without_spread(mean, questions, scale)
        return Interval(mean, low, high, len(values), questions, "wilson")
    if questions < 2 or np.ptp(sums / counts) < _ALIKE:
        return Interval(mean, math.nan, math.nan, len(values), questions, "none")
    means = _replicate_means(sums, counts, strata_index, replicates=replicates, seed=seed)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(mean, float(low), float(high), len(values), questions, "bootstrap")


def paired_difference(
    a: Mapping[Hashable, float],
    b: Mapping[Hashable, float],
    *,
    replicates: int,
    seed: int,
    strata: Mapping[Hashable, Hashable] | None = None,
    scale: Scale | None = RATE,
) -> Difference:
    """b − a by question; questions that only one of them answered are left out.

    Each mapping holds one value per question, the mean of its turns and repeats; `scale` bounds
    them as in `bootstrap_mean`.
    """
    shared = [question for question in a if question in b]
    if not shared:
        return Difference(math.nan, math.nan, math.nan, 0, math.nan, "none")
    before = np.array([a[question] for question in shared], dtype=float)
    after = np.array([b[question] for question in shared], dtype=float)
    differences = after - before
    value = float(differences.mean())
    if np.ptp(differences) < _ALIKE and scale is not None:
        p_better = 0.5 if abs(value) < _ALIKE else float(value > 0)
        if {*before, *after} <= {0.0, 1.0}:
            low, high = newcombe(float(before.mean()), float(after.mean()), len(shared))
            return Difference(value, low, high, len(shared), p_better, "newcombe")
        reach = scale[1] - scale[0]
        if abs(value) <= reach and len(shared) > 1:
            low, high = without_spread(value, len(shared), (-reach, reach))
            return Difference(value, low, high, len(shared), p_better, "wilson")
    if len(shared) < 2 or np.ptp(differences) < _ALIKE:
        return Difference(value, math.nan, math.nan, len(shared), math.nan, "none")
    sums, counts, strata_index = _clusters(differences.tolist(), shared, strata)
    means = _replicate_means(sums, counts, strata_index, replicates=replicates, seed=seed)
    low, high = np.quantile(means, [0.025, 0.975])
    p_better = float((means > 0).mean() + (means == 0).mean() / 2)
    return Difference(value, float(low), float(high), len(shared), p_better, "bootstrap")


def bootstrap_of(
    statistic: Callable[[np.ndarray], float], questions: int, *, replicates: int, seed: int
) -> np.ndarray:
    """`statistic` of each of R draws of question indices (Q,) with replacement; shape (R,).

    For what is no mean: a fitted rate, a ratio, a rank correlation.
    """
    draws = np.random.default_rng(seed).integers(0, questions, size=(replicates, questions))
    return np.array([statistic(indices) for indices in draws])


def without_spread(value: float, n: int, scale: Scale) -> tuple[float, float]:
    """Interval of a mean on a bounded `scale` where all n values are the same.

    Of values that were never seen among n there can be a share of z²/(n + z²), the end of Wilson's
    interval of a rate of 0; they can lie anywhere on the scale. Of a rate of 0 or 1 it is Wilson's.
    """
    unseen = Z95 * Z95 / (n + Z95 * Z95)
    return value - unseen * (value - scale[0]), value + unseen * (scale[1] - value)


def newcombe(before: float, after: float, n: int) -> tuple[float, float]:
    """Interval of a difference of two rates over the same n questions.

    Newcombe's square-and-add of Wilson limits (Stat. Med. 17, 1998, 2635) without his correlation
    term, which is undefined where a rate is 0 or 1, the only case it is used for here.
    """
    low_a, high_a = wilson(before, n)
    low_b, high_b = wilson(after, n)
    value = after - before
    down = math.hypot(after - low_b, high_a - before)
    up = math.hypot(high_b - after, before - low_a)
    return max(-1.0, value - down), min(1.0, value + up)


def _clusters(
    values: Sequence[float],
    groups: Sequence[Hashable] | None,
    strata: Mapping[Hashable, Hashable] | None,
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Sum and count per question (Q,), and the question indices of each stratum."""
    labels = list(groups) if groups is not None else list(range(len(values)))
    order = {label: place for place, label in enumerate(dict.fromkeys(labels))}
    index = np.array([order[label] for label in labels])
    sums = np.bincount(index, weights=np.asarray(values, dtype=float), minlength=len(order))
    counts = np.bincount(index, minlength=len(order)).astype(float)
    members = strata_of(list(order), strata)
    return sums, counts, [np.array([order[label] for label in of]) for of in members]


def strata_of(
    questions: Sequence[Hashable], strata: Mapping[Hashable, Hashable] | None
) -> list[list[Hashable]]:
    """The questions of each category, of which each has two or more.

    A category of one question says nothing of how questions differ, and drawing from it would
    claim certainty: such are put together, and a last one with the smallest other category.
    """
    if strata is None:
        return [list(questions)]
    members: dict[Hashable, list[Hashable]] = {}
    for question in questions:
        members.setdefault(strata.get(question), []).append(question)
    alone = [question for of in members.values() if len(of) == 1 for question in of]
    kept = [of for of in members.values() if len(of) > 1]
    if len(alone) == 1 and kept:
        min(kept, key=len).extend(alone)
    elif alone:
        kept.append(alone)
    return kept


def _replicate_means(
    sums: np.ndarray,
    counts: np.ndarray,
    strata: list[np.ndarray],
    *,
    replicates: int,
    seed: int,
) -> np.ndarray:
    """The mean over all values in each of R draws of questions, shape (R,).

    Where the questions of each category are all the same, drawing within categories would claim
    certainty: they are then drawn from all.
    """
    if len(strata) > 1 and all(np.ptp(sums[of] / counts[of]) == 0 for of in strata):
        strata = [np.concatenate(strata)]
    rng = np.random.default_rng(seed)
    total = np.zeros(replicates)
    drawn = np.zeros(replicates)
    for places in strata:
        size = len(places)
        for start in range(0, replicates, step := max(1, _AT_ONCE // size)):
            rows = slice(start, min(start + step, replicates))
            draws = places[rng.integers(0, size, size=(rows.stop - start, size - 1))]  # (R, n − 1)
            weight = size / (size - 1)
            total[rows] += weight * sums[draws].sum(axis=1)
            drawn[rows] += weight * counts[draws].sum(axis=1)
    return total / drawn
