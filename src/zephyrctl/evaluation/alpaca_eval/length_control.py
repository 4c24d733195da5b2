"""What would a model's win rate be if its outputs were as long as the baseline's?

AlpacaEval's length-controlled win rate (Dubois et al. 2024, arXiv 2404.04475), fitted exactly. A
logistic model without intercept has three features: tanh of the standardised difference of
lengths, the instruction's difficulty, and a constant. It is fitted to the model's rows (weight 1)
and to 2 × 805 rows of the baseline gamed against itself (weight 0.1, constant 0), with the targets'
probabilities as they are and an L1 penalty:

    minimise  Σ s_i [log(1 + e^z_i) − p_i z_i] + ‖θ‖₁ / C,   z_i = θ · x_i.

Upstream (tatsu-lab/alpaca_eval cd543a1, metrics/glm_winrate.py) solves this by liblinear, which
stops early, and picks C by folds that depend on how a sort orders ties, so on the CPU. Here the
minimum is exact (proximal Newton on three parameters) and fold k holds the rows k mod 5, which is
what upstream's folds are where the sort is stable.

Legend: B problems solved at once, N rows, M rows of the model.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from zephyrctl.errors import JobFailed

GAMED_WEIGHT = 0.1
"""Upstream's 0.2, shared by two gamed baselines."""
GRID = tuple(float(10 ** (-4 + 8 * step / 9)) for step in range(10))
"""scikit-learn's default for `Cs=10`: 1e-4 to 1e4 in even steps of the logarithm."""
FOLDS = 5

_FEATURES = 3
_MOST_STEPS = 200
_TOLERANCE = 1e-12
_SMALLEST_STEP = 1e-15
_AT_ONCE = 64  # bootstrap problems in one batch: their rows stay in the processor's cache


_Derivatives = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Objective, gradient and Hessian."""


@dataclass(frozen=True)
class Rows:
    """Rows of the fit: the model's, or the gamed baseline's.

    `length_gap` is characters of the baseline's output minus the model's, for gamed rows already
    standardised. `win` is the probability that the model wins, NaN where it is not known. All (M,).
    """

    length_gap: np.ndarray
    difficulty: np.ndarray
    win: np.ndarray


@dataclass(frozen=True)
class LengthControlled:
    """The fit and what follows from it; rates in percent.

    `fitted` (M,) are the predicted rates of the rows at equal lengths, whose mean is `win_rate`.
    `upstream_standard_error` is their standard deviation over √M, as upstream prints it, which
    leaves out that the fit itself is uncertain. `influence` (M,) is the infinitesimal jackknife:
    how far each row moves `win_rate`, times M; it sums to 0, and its standard deviation over √M
    estimates the real standard error.
    """

    win_rate: float
    upstream_standard_error: float
    c: float
    weights: tuple[float, float, float]
    fitted: np.ndarray
    influence: np.ndarray


@dataclass(frozen=True)
class _Problem:
    """Features as three arrays (B, N) or (1, N); targets (N,); sample weights (B, N) or (1, N)."""

    features: tuple[np.ndarray, np.ndarray, np.ndarray]
    targets: np.ndarray
    sample_weights: np.ndarray


def length_controlled(
    rows: Rows, gamed: Rows, *, c: float | None = None
) -> LengthControlled | None:
    """The length-controlled win rate; `c` None chooses it by cross-validation.

    None where it is not defined: no row is judged, or all lengths differ by the same amount.
    """
    scale = _scale(rows.length_gap)
    if scale == 0 or np.isnan(rows.win).all():
        return None
    problem = _problem(rows, gamed, scale=scale)
    chosen = choose_c(problem) if c is None else c
    theta = _solve(problem, np.array([chosen]))
    fitted = _sigmoid(theta[0, 1] * rows.difficulty + theta[0, 2])
    mean = math.fsum(fitted) / len(fitted)
    spread = float(fitted.std(ddof=1)) if len(fitted) > 1 else math.nan
    influence = _influence(problem, rows, theta[0], fitted, c=chosen)
    return LengthControlled(
        win_rate=100 * mean,
        upstream_standard_error=100 * spread / math.sqrt(len(fitted)),
        c=chosen,
        weights=(float(theta[0, 0]), float(theta[0, 1]), float(theta[0, 2])),
        fitted=100 * fitted,
        influence=100 * influence,
    )


def bootstrap(
    rows: Rows,
    gamed: Rows,
    fit: LengthControlled,
    *,
    strata: Sequence[Hashable],
    replicates: int,
    seed: int,
) -> np.ndarray:
    """The length-controlled win rate of each draw of instructions, refitted at the C of `fit`.

    `strata` (M,) names each row's category, within which rows are drawn. Lengths are standardised
    anew in each draw; gamed rows are always all there, as a prior. Returns percent, (R,).
    """
    counts = draw(strata, replicates=replicates, seed=seed)
    start = np.array(fit.weights)
    found = [
        _replicates(rows, gamed, counts[first : first + _AT_ONCE], start=start, c=fit.c)
        for first in range(0, replicates, _AT_ONCE)
    ]
    return 100 * np.concatenate(found)


def draw(strata: Sequence[Hashable], *, replicates: int, seed: int) -> np.ndarray:
    """How often each of M rows is drawn, with replacement within its stratum, (R, M)."""
    rng = np.random.default_rng(seed)
    counts = np.empty((replicates, len(strata)))
    members: dict[Hashable, list[int]] = {}
    for place, stratum in enumerate(strata):
        members.setdefault(stratum, []).append(place)
    for places in members.values():
        chances = np.full(len(places), 1 / len(places))
        counts[:, places] = rng.multinomial(len(places), chances, size=replicates)
    return counts


def choose_c(problem: _Problem) -> float:
    """The C of the grid with the least cross-validated log loss.

    The loss of a fold is the mean over its rows of weight × log loss (probabilities clipped at
    1e-15), and folds count alike, as upstream. Of C that are equal but for rounding the smallest.
    """
    rows = len(problem.targets)
    in_fold = np.arange(rows) % FOLDS == np.arange(FOLDS)[:, None]
    trained_on = np.where(in_fold, 0.0, problem.sample_weights)
    theta = _solve(
        _Problem(problem.features, problem.targets, np.tile(trained_on, (len(GRID), 1))),
        np.repeat(GRID, FOLDS),
    )
    chance = np.clip(_sigmoid(_predictor(problem.features, theta)), 1e-15, 1 - 1e-15)
    target = problem.targets
    loss = -(target * np.log(chance) + (1 - target) * np.log(1 - chance)) * problem.sample_weights
    held_out = np.tile(in_fold, (len(GRID), 1))
    folds = (loss * held_out).sum(axis=1) / np.maximum(held_out.sum(axis=1), 1)
    scores = folds.reshape(len(GRID), FOLDS).mean(axis=1)
    return GRID[int(np.flatnonzero(scores <= scores.min() + 1e-12)[0])]


def _scale(gaps: np.ndarray) -> float:
    """Standard deviation (ddof 1) of the lengths' differences; 0 where there is none."""
    return float(gaps.std(ddof=1)) if len(gaps) > 1 else 0.0


def _problem(rows: Rows, gamed: Rows, *, scale: float) -> _Problem:
    """Gamed rows first, then the model's judged rows, as upstream; folds go by this order."""
    judged = ~np.isnan(rows.win)
    gap = np.concatenate([gamed.length_gap, rows.length_gap[judged] / scale])
    count, known = len(gamed.win), int(judged.sum())
    return _Problem(
        (
            np.tanh(gap)[None],
            np.concatenate([gamed.difficulty, rows.difficulty[judged]])[None],
            np.repeat([0.0, 1.0], [count, known])[None],
        ),
        np.concatenate([gamed.win, rows.win[judged]]),
        np.repeat([GAMED_WEIGHT, 1.0], [count, known])[None],
    )


def _replicates(
    rows: Rows, gamed: Rows, counts: np.ndarray, *, start: np.ndarray, c: float
) -> np.ndarray:
    """Predicted rates (B,) for `counts` (B, M), how often each row was drawn."""
    size = counts.sum(axis=1)
    mean = counts @ rows.length_gap / size
    square = counts @ np.square(rows.length_gap) / size - np.square(mean)
    scale = np.sqrt(np.maximum(square * size / np.maximum(size - 1, 1), 1e-300))[:, None]
    judged = ~np.isnan(rows.win)
    batch, known, count = len(counts), int(judged.sum()), len(gamed.win)
    gap = np.empty((batch, count + known))
    gap[:, :count] = np.tanh(gamed.length_gap)
    gap[:, count:] = np.tanh(rows.length_gap[judged] / scale)
    weights = np.full((batch, count + known), GAMED_WEIGHT)
    weights[:, count:] = counts[:, judged]
    base = _problem(rows, gamed, scale=1.0)
    problem = _Problem((gap, *base.features[1:]), base.targets, weights)
    theta = _solve(problem, np.full(batch, c), start=np.tile(start, (batch, 1)))
    fitted = _sigmoid(theta[:, 1:2] * rows.difficulty + theta[:, 2:3])
    return (counts * fitted).sum(axis=1) / size


def _solve(problem: _Problem, c: np.ndarray, *, start: np.ndarray | None = None) -> np.ndarray:
    """The minima (B, 3) for the penalties 1/C (B,), by proximal Newton with halved steps."""
    penalty = 1 / c
    theta = np.zeros((len(c), _FEATURES)) if start is None else start
    here = _derivatives(problem, theta, penalty)
    for _ in range(_MOST_STEPS):
        step = _newton_step(theta, here[1], here[2], penalty)
        if np.abs(step).max() <= _TOLERANCE * max(1.0, float(np.abs(theta).max())):
            return theta + step
        theta, here = _descend(problem, theta, step, here[0], penalty)
    raise JobFailed("the length-controlled fit did not converge")


def _descend(
    problem: _Problem, theta: np.ndarray, step: np.ndarray, value: np.ndarray, penalty: np.ndarray
) -> tuple[np.ndarray, _Derivatives]:
    """The next point and its derivatives; a step that raised the objective is halved until it does
    not. Rounding in the objective is no rise."""
    size = np.ones(len(theta))
    while True:
        moved = theta + size[:, None] * step
        found = _derivatives(problem, moved, penalty)
        rose = found[0] > value + 1e-13 * (1 + np.abs(value))
        if not rose.any() or size.min() < _SMALLEST_STEP:
            return moved, found
        size[rose] /= 2


def _derivatives(problem: _Problem, theta: np.ndarray, penalty: np.ndarray) -> _Derivatives:
    """Objective (B,), and gradient (B, 3) and Hessian (B, 3, 3) of its smooth part."""
    z = _predictor(problem.features, theta)
    small = np.exp(-np.abs(z))
    chance = np.where(z >= 0, 1.0, small) / (1 + small)
    loss = np.maximum(z, 0) + np.log1p(small) - problem.targets * z
    value = _sum(loss, problem.sample_weights) + penalty * np.abs(theta).sum(axis=1)
    slope = problem.sample_weights * (chance - problem.targets)
    bend = problem.sample_weights * chance * (1 - chance)
    gradient = np.stack([_sum(slope, x) for x in problem.features], axis=1)
    hessian = np.empty((len(theta), _FEATURES, _FEATURES))
    for i, x in enumerate(problem.features):
        bent = bend * x
        for j in range(i, _FEATURES):
            hessian[:, i, j] = hessian[:, j, i] = _sum(bent, problem.features[j])
    return value, gradient, hessian


def _newton_step(
    theta: np.ndarray, gradient: np.ndarray, hessian: np.ndarray, penalty: np.ndarray
) -> np.ndarray:
    """The step (B, 3) to the minimum of the local quadratic plus penalty, by coordinates.

    A ridge of 1e-12 of the curvature keeps a feature without any from dividing by zero.
    """
    curvature = hessian[:, range(_FEATURES), range(_FEATURES)]
    curvature = curvature + 1e-12 * curvature.max(axis=1, keepdims=True) + 1e-300
    step = np.zeros_like(theta)
    for _ in range(2000):
        change = 0.0
        for k in range(_FEATURES):
            slope = gradient[:, k] + (hessian[:, k] * step).sum(axis=1)
            wanted = theta[:, k] + step[:, k] - slope / curvature[:, k]
            limit = penalty / curvature[:, k]
            shrunk = np.sign(wanted) * np.maximum(np.abs(wanted) - limit, 0.0)
            moved = shrunk - theta[:, k] - step[:, k]
            step[:, k] += moved
            change = max(change, float(np.abs(moved).max()))
        if change <= 1e-14 * max(1.0, float(np.abs(theta).max())):
            break
    return step


def _influence(
    problem: _Problem, rows: Rows, theta: np.ndarray, fitted: np.ndarray, *, c: float
) -> np.ndarray:
    """M × the derivative of the mean of `fitted` by each row's weight, centred.

    The row moves the mean by being counted, and by moving θ: ∂θ/∂s_i = −H⁻¹ ∇ℓ_i on the features
    whose weight is not 0 (the others stay 0). The lengths' standard deviation is held fixed.
    """
    _, _, hessian = _derivatives(problem, theta[None], np.array([1 / c]))
    active = np.flatnonzero(theta)
    spread = fitted * (1 - fitted)
    total = np.array([0.0, (spread * rows.difficulty).sum(), spread.sum()])
    pull = np.zeros(_FEATURES)
    pull[active] = np.linalg.solve(hessian[0][np.ix_(active, active)], total[active])
    length = np.tanh(rows.length_gap / _scale(rows.length_gap))
    features = np.stack([length, rows.difficulty, np.ones_like(length)], axis=1)
    surprise = np.where(np.isnan(rows.win), 0.0, rows.win - _sigmoid(features @ theta))
    found = fitted + surprise * (features @ pull)
    return found - found.mean()


def _predictor(
    features: tuple[np.ndarray, np.ndarray, np.ndarray], theta: np.ndarray
) -> np.ndarray:
    """θ · x, (B, N)."""
    first, second, third = features
    return theta[:, 0:1] * first + theta[:, 1:2] * second + theta[:, 2:3] * third


def _sum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Σ over rows of a × b, for (B, N) or (1, N) each; (B,)."""
    return np.einsum("bn,bn->b", *np.broadcast_arrays(a, b))


def _sigmoid(z: np.ndarray) -> np.ndarray:
    small = np.exp(-np.abs(z))
    return np.where(z >= 0, 1.0, small) / (1 + small)
