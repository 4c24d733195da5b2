"""The exact fit behind the length-controlled win rate."""

import numpy as np
import pytest

from zephyrctl.evaluation.alpaca_eval import length_control
from zephyrctl.evaluation.alpaca_eval.length_control import GRID, Rows, bootstrap, draw

GAMED = 160


def _data(*, seed: int = 0, rows: int = 80, shift: float = -1.0) -> tuple[Rows, Rows]:
    rng = np.random.default_rng(seed)
    difficulty = rng.normal(size=rows)
    gap = rng.normal(200, 400, size=rows)
    z = shift - 1.2 * np.tanh(gap / gap.std(ddof=1)) + 0.8 * difficulty
    win = 1 / (1 + np.exp(-(z + rng.normal(0, 2, size=rows))))
    gaps = np.concatenate([rng.normal(-0.8, 0.6, GAMED // 2), rng.normal(0.7, 0.4, GAMED // 2)])
    gamed = Rows(gaps, np.tile(difficulty[: GAMED // 2], 2), 1 / (1 + np.exp(1.5 * np.tanh(gaps))))
    return Rows(gap, difficulty, win), gamed


def _gradient(rows: Rows, gamed: Rows, theta: np.ndarray) -> np.ndarray:
    """Of the smooth part, written out row by row in the model's own terms."""
    total = np.zeros(3)
    scale = np.std(rows.length_gap, ddof=1)
    for gap, hard, win in zip(rows.length_gap, rows.difficulty, rows.win, strict=True):
        x = np.array([np.tanh(gap / scale), hard, 1.0])
        total += (1 / (1 + np.exp(-theta @ x)) - win) * x
    for gap, hard, win in zip(gamed.length_gap, gamed.difficulty, gamed.win, strict=True):
        x = np.array([np.tanh(gap), hard, 0.0])
        total += 0.1 * (1 / (1 + np.exp(-theta @ x)) - win) * x
    return total


@pytest.mark.parametrize("c", GRID)
@pytest.mark.parametrize("shift", [-6.0, -1.0, 0.0, 3.0])
def test_the_fit_meets_the_conditions_of_the_minimum(c, shift):
    rows, gamed = _data(shift=shift)
    fit = length_control.length_controlled(rows, gamed, c=c)
    assert fit is not None
    theta = np.array(fit.weights)
    gradient, limit = _gradient(rows, gamed, theta), 1 / c
    for slope, weight in zip(gradient, theta, strict=True):
        if weight:
            assert slope == pytest.approx(-np.sign(weight) * limit, abs=1e-8 * max(1, limit))
        else:
            assert abs(slope) <= limit * (1 + 1e-9)
    z = theta[1] * rows.difficulty + theta[2]
    assert fit.win_rate == pytest.approx(100 * np.mean(1 / (1 + np.exp(-z))), abs=1e-9)


def test_separable_rows_still_have_a_minimum():
    rows, gamed = _data()
    always = Rows(rows.length_gap, rows.difficulty, np.ones_like(rows.win))
    fit = length_control.length_controlled(always, gamed, c=GRID[-1])
    assert fit is not None
    assert 99.9 < fit.win_rate <= 100


def test_c_is_the_grids_best_by_folds_of_rows_modulo_five():
    rows, gamed = _data(seed=3)
    scale = np.std(rows.length_gap, ddof=1)
    length = np.tanh(np.concatenate([gamed.length_gap, rows.length_gap / scale]))
    difficulty = np.concatenate([gamed.difficulty, rows.difficulty])
    constant = np.repeat([0.0, 1.0], [GAMED, len(rows.win)])
    win = np.concatenate([gamed.win, rows.win])
    weight = np.repeat([0.1, 1.0], [GAMED, len(rows.win)])
    losses = []
    for c in GRID:
        folds = []
        for fold in range(5):
            held = np.arange(len(win)) % 5 == fold
            theta = _descended(length, difficulty, constant, win, weight * ~held, c)
            z = theta[0] * length + theta[1] * difficulty + theta[2] * constant
            p = 1 / (1 + np.exp(-z))
            loss = -weight * (win * np.log(p) + (1 - win) * np.log(1 - p))
            folds.append(loss[held].mean())
        losses.append(np.mean(folds))
    fit = length_control.length_controlled(rows, gamed)
    assert fit is not None
    assert fit.c == GRID[int(np.argmin(losses))]


def _descended(length, difficulty, constant, win, weight, c) -> np.ndarray:
    """The minimum by plain proximal gradient steps: slow, and nothing shared with the package."""
    x = np.stack([length, difficulty, constant], axis=1)
    rate = 4 / np.linalg.eigvalsh((x * weight[:, None]).T @ x).max()
    theta = np.zeros(3)
    for _ in range(1200):
        slope = x.T @ (weight * (1 / (1 + np.exp(-x @ theta)) - win))
        theta = theta - rate * slope
        theta = np.sign(theta) * np.maximum(np.abs(theta) - rate / c, 0)
    return theta


def test_rows_without_a_verdict_are_predicted_and_not_fitted():
    rows, gamed = _data()
    win = rows.win.copy()
    win[:10] = np.nan
    without = length_control.length_controlled(
        Rows(rows.length_gap, rows.difficulty, win), gamed, c=1.0
    )
    assert without is not None
    assert len(without.fitted) == len(rows.win)
    assert without.weights != length_control.length_controlled(rows, gamed, c=1.0).weights


def test_equal_gaps_leave_the_rate_undefined():
    rows, gamed = _data()
    same = Rows(np.full_like(rows.length_gap, 7.0), rows.difficulty, rows.win)
    assert length_control.length_controlled(same, gamed) is None


def test_each_draw_is_the_fit_of_the_rows_drawn():
    rows, gamed = _data(seed=1)
    fit = length_control.length_controlled(rows, gamed, c=2.0)
    assert fit is not None
    strata = [place % 3 for place in range(len(rows.win))]
    found = bootstrap(rows, gamed, fit, strata=strata, replicates=70, seed=5)
    counts = draw(strata, replicates=70, seed=5)
    assert (counts.sum(axis=1) == len(rows.win)).all()
    for replicate in (0, 33, 69):
        drawn = np.repeat(np.arange(len(rows.win)), counts[replicate].astype(int))
        again = length_control.length_controlled(
            Rows(rows.length_gap[drawn], rows.difficulty[drawn], rows.win[drawn]), gamed, c=2.0
        )
        assert again is not None
        assert found[replicate] == pytest.approx(again.win_rate, abs=1e-7)


def test_the_influence_of_rows_gives_the_bootstraps_standard_error():
    rows, gamed = _data(seed=2, rows=400)
    fit = length_control.length_controlled(rows, gamed, c=2.0)
    assert fit is not None
    found = bootstrap(rows, gamed, fit, strata=[0] * 400, replicates=400, seed=0)
    error = fit.influence.std(ddof=1) / np.sqrt(400)
    assert error == pytest.approx(found.std(), rel=0.12)
    assert fit.influence.sum() == pytest.approx(0, abs=1e-6)
    assert error > 1.5 * fit.upstream_standard_error
