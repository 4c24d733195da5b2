"""What do judged instructions add up to? Rates, length control, and what order and length do.

Rates are in percent, as upstream's.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from zephyrctl.evaluation.alpaca_eval.annotations import Judged
from zephyrctl.evaluation.alpaca_eval.formats import ALL_INSTRUCTIONS, Gamed
from zephyrctl.evaluation.alpaca_eval.length_control import (
    LengthControlled,
    Rows,
    draw,
    length_controlled,
)
from zephyrctl.evaluation.alpaca_eval.metrics import win_rates
from zephyrctl.evaluation.coverage import COMPLETE_COVERAGE
from zephyrctl.evaluation.statistics import Interval, without_spread


@dataclass(frozen=True)
class OrderEffect:
    """How a judge prefers a place: the model's mean rate when it is shown first and second.

    `flips` is the share of the instructions judged in `both` orders whose winner changes with the
    order. None where there is nothing to take a mean of.
    """

    first: float | None
    second: float | None
    n_first: int
    n_second: int
    flips: float | None
    both: int


def upstream_figures(
    judged: Sequence[Judged], *, length_controlled_winrate: float | None
) -> dict[str, Any]:
    """The figures of upstream's leaderboard, under its names.

    `avg_length` is the mean over all outputs, cut to whole characters. Upstream leaves instructions
    with an empty output out of the annotations, and counts them here; so the few rows that lack in
    a file of the whole set (5 % at most) count as empty.
    """
    count = len(judged)
    if COMPLETE_COVERAGE * ALL_INSTRUCTIONS <= count < ALL_INSTRUCTIONS:
        count = ALL_INSTRUCTIONS
    rates = asdict(win_rates([item.preference for item in judged]))
    return {
        "win_rate": rates["win_rate"],
        "standard_error": rates["standard_error"],
        "discrete_win_rate": rates["discrete_win_rate"],
        "length_controlled_winrate": length_controlled_winrate,
        "n_wins": rates["n_wins"],
        "n_wins_base": rates["n_wins_base"],
        "n_draws": rates["n_draws"],
        "n_total": rates["n_total"],
        "avg_length": int(math.fsum(item.len_2 for item in judged) / count) if count else None,
    }


def rows_of(
    judged: Sequence[Judged], gamed: Gamed, *, by_position: bool
) -> tuple[Rows, Rows] | None:
    """The rows of the length-controlled fit: the model's, and the gamed baseline's.

    `by_position` takes the difficulty of a row from its position in `judged`, as upstream does,
    so that behind a missing answer every row has another instruction's difficulty. None where
    a place is not known, or lies beyond the difficulties.
    """
    places = list(range(len(judged))) if by_position else [item.place for item in judged]
    known = [place for place in places if place is not None and place < len(gamed.difficulty_of)]
    if len(known) < len(places):
        return None
    mine = Rows(
        length_gap=np.array([item.len_1 - item.len_2 for item in judged], dtype=float),
        difficulty=np.array([gamed.difficulty_of[place] for place in known]),
        win=_wins(judged),
    )
    fixed = Rows(np.array(gamed.length_gap), np.array(gamed.difficulty), np.array(gamed.win))
    return mine, fixed


def length_controlled_of(
    judged: Sequence[Judged], gamed: Gamed, *, c: float | None, by_position: bool
) -> LengthControlled | None:
    """The length-controlled win rate; None where it is not defined."""
    rows = rows_of(judged, gamed, by_position=by_position)
    return None if rows is None else length_controlled(*rows, c=c)


def order_effect(judged: Sequence[Judged]) -> OrderEffect:
    """The mean rates by the model's place, over the verdicts that had an order."""
    second = [item.by_order[1] - 1 for item in judged if 1 in item.by_order]
    first = [item.by_order[2] - 1 for item in judged if 2 in item.by_order]
    both = [item.by_order for item in judged if len(item.by_order) == 2]
    flips = sum((orders[1] - 1.5) * (orders[2] - 1.5) < 0 for orders in both)
    return OrderEffect(
        first=100 * _mean(first) if first else None,
        second=100 * _mean(second) if second else None,
        n_first=len(first),
        n_second=len(second),
        flips=flips / len(both) if both else None,
        both=len(both),
    )


def length_ratio(judged: Sequence[Judged]) -> float | None:
    """Mean characters of the model's outputs over those of the other's."""
    other = math.fsum(item.len_1 for item in judged)
    return math.fsum(item.len_2 for item in judged) / other if other else None


def at_equal_length(
    judged: Sequence[Judged], *, strata: Sequence[Hashable], replicates: int, seed: int
) -> Interval | None:
    """The win rate where both outputs are equally long, by least squares.

    The intercept of the win probability on the logarithm of the ratio of lengths (plus one
    character), held within 0..100; a plain regression on this pair's own rows, without upstream's
    difficulties and gamed rows. None where the lengths do not vary.
    """
    wins = _wins(judged)
    stands = ~np.isnan(wins)
    x = np.log([(1 + item.len_2) / (1 + item.len_1) for item in judged])[stands]
    y = wins[stands]
    if len(y) < 3 or np.ptp(x) == 0:
        return None
    if np.ptp(y) < 1e-9:  # no line to fit, and no draw would differ
        rate = 100 * float(y[0])
        low, high = without_spread(rate, len(y), (0.0, 100.0))
        return Interval(rate, low, high, len(y), len(y), "wilson")
    kept = [stratum for stratum, stand in zip(strata, stands, strict=True) if stand]
    counts = draw(kept, replicates=replicates, seed=seed)
    value = float(_intercepts(np.ones((1, len(y))), x, y)[0])
    low, high = np.quantile(_intercepts(counts, x, y), [0.025, 0.975])
    return Interval(value, float(low), float(high), len(y), len(y), "bootstrap")


def _intercepts(counts: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The intercept of y on x (M,) in percent for each draw of rows (R, M); (R,).

    A draw in which x does not vary has no slope: its mean of y.
    """
    size = counts.sum(axis=1)
    mean_x, mean_y = counts @ x / size, counts @ y / size
    spread = counts @ (x * x) / size - mean_x * mean_x
    shared = counts @ (x * y) / size - mean_x * mean_y
    slope = np.where(spread > 1e-12, shared / np.maximum(spread, 1e-12), 0.0)
    return 100 * np.clip(mean_y - slope * mean_x, 0.0, 1.0)


def _wins(judged: Sequence[Judged]) -> np.ndarray:
    """The probability that the model wins, NaN where no verdict stands, (M,)."""
    return np.array(
        [math.nan if item.preference is None else item.preference - 1 for item in judged]
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
