"""AlpacaEval's rates."""

import statistics

import pytest

from zephyrctl.evaluation.alpaca_eval.metrics import is_far, win_rates


def test_rates_are_upstreams():
    found = win_rates([1.0, 2.0, 1.5, 1.9, None, 1.4])
    wins = [0.0, 1.0, 0.5, 0.9, 0.4]
    assert found.win_rate == pytest.approx(100 * statistics.fmean(wins))
    assert found.standard_error == pytest.approx(100 * statistics.stdev(wins) / 5**0.5)
    assert found.discrete_win_rate == pytest.approx(50.0)
    assert (found.n_wins, found.n_wins_base, found.n_draws, found.n_total) == (2, 2, 1, 5)


def test_no_preference_gives_no_rate():
    found = win_rates([None, None])
    assert (found.win_rate, found.standard_error, found.n_total) == (None, None, 0)
    assert win_rates([2.0]).standard_error is None


@pytest.mark.parametrize(
    ("raw", "controlled", "far"),
    [(20, 9.9, True), (20, 10.1, False), (20, 41, True), (20, 39, False), (50, 37, True),
     (50, 38, False), (62.6, 82.7, True), (4.7, 8.7, False)],
)  # fmt: skip
def test_a_rate_far_from_the_raw_one_is_upstreams_warning(raw, controlled, far):
    assert is_far(raw, controlled) is far
