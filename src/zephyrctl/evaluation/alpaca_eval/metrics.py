"""How often does the model win? AlpacaEval's rates from preferences (metrics/helpers.py)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class WinRates:
    """Rates in percent, None where there is nothing to take a mean of; counts of preferences.

    `standard_error` is the standard deviation (ddof 1) over √n. `discrete_win_rate` rounds each
    preference first, a draw counting half.
    """

    win_rate: float | None
    standard_error: float | None
    discrete_win_rate: float | None
    n_wins: int
    n_wins_base: int
    n_draws: int
    n_total: int


def win_rates(preferences: Sequence[float | None]) -> WinRates:
    """The rates of preferences in 1..2; those that are None are left out."""
    wins = [value - 1 for value in preferences if value is not None]
    n = len(wins)
    n_wins, n_base = sum(win > 0.5 for win in wins), sum(win < 0.5 for win in wins)
    n_draws = n - n_wins - n_base
    if not n:
        return WinRates(None, None, None, 0, 0, 0, 0)
    mean = math.fsum(wins) / n
    spread = math.fsum((win - mean) ** 2 for win in wins)
    return WinRates(
        win_rate=100 * mean,
        standard_error=100 * math.sqrt(spread / (n - 1) / n) if n > 1 else None,
        discrete_win_rate=100 * (n_wins + n_draws / 2) / n,
        n_wins=n_wins,
        n_wins_base=n_base,
        n_draws=n_draws,
        n_total=n,
    )


def is_far(win_rate: float, length_controlled: float) -> bool:
    """Whether length control moves a rate (percent) by more than both 10 points and a quarter of
    what is left on that side, upstream's sign of a fit that failed."""
    low = min(win_rate * 3 / 4, win_rate - 10)
    high = max(win_rate + (100 - win_rate) / 4, win_rate + 10)
    return not low <= length_controlled <= high
