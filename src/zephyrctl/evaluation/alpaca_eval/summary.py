"""What did one match of AlpacaEval come to?

A model against upstream's baseline gets upstream's figures; two models of one's own get the win
rate of one against the other, without length control: its difficulties and gamed rows belong to
one judge and one baseline. Rates are in percent; an instruction's repeats and orders are united
before anything is counted.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from zephyrctl.evaluation.alpaca_eval import figures, protocol
from zephyrctl.evaluation.alpaca_eval.annotations import Judged, last_of_each, unite
from zephyrctl.evaluation.alpaca_eval.formats import (
    ALL_INSTRUCTIONS,
    Gamed,
    Instruction,
    Version,
)
from zephyrctl.evaluation.alpaca_eval.length_control import (
    LengthControlled,
    bootstrap,
    length_controlled,
)
from zephyrctl.evaluation.alpaca_eval.metrics import is_far
from zephyrctl.evaluation.benchmark import Judgment, Match, Score, Scores
from zephyrctl.evaluation.cells import bounds
from zephyrctl.evaluation.coverage import COMPLETE_COVERAGE, MINIMAL_COVERAGE, shortfall
from zephyrctl.evaluation.statistics import (
    RATE,
    Interval,
    Scale,
    bootstrap_mean,
    without_spread,
)

_STRONG_ORDER = 20.0
"""Points between a model's rates shown first and second from which the order is worth a word."""
_MANY_FLIPS = 0.25


@dataclass(frozen=True)
class Plan:
    """What a summary needs beside the judgments."""

    benchmark: str
    judge: str
    version: Version
    questions: tuple[Instruction, ...]
    baseline: str
    gamed: Gamed | None
    repeats: int
    replicates: int
    seed: int
    c: float | None
    upstream_compat: bool
    fenced: bool


@dataclass(frozen=True)
class _Part:
    """One metric with its interval."""

    metric: str
    interval: Interval


def summarize(judgments: Sequence[Judgment], match: Match, *, plan: Plan) -> Scores:
    """The scores of one match; no I/O."""
    rows = last_of_each(judgments)
    judged = unite(rows)
    stands = [item for item in judged if item.preference is not None]
    coverage = sum(item.share for item in stands) / max(1, len(plan.questions))
    controlled = None if match.opponent is not None else _controlled(judged, plan)
    details = _details(rows, judged, controlled, match, plan)
    notices = [*shortfall(match.label, coverage), *_notices(rows, judged, match, plan=plan)]
    details |= {
        "n": len(stands),
        "coverage": coverage,
        "incomplete": coverage < COMPLETE_COVERAGE or len(plan.questions) < ALL_INSTRUCTIONS,
    }
    if coverage < MINIMAL_COVERAGE:
        return Scores((), {}, None, details, tuple(notices))
    even = figures.at_equal_length(
        stands,
        strata=[item.category for item in stands],
        replicates=plan.replicates,
        seed=plan.seed,
    )
    details |= {"categories": _categories(stands, plan), "length": _length(stands, even)}
    parts = [
        *([] if controlled is None else [_controlled_part(judged, controlled, plan)]),
        *_plain_parts(stands, even, match, plan),
    ]
    both_orders = any(len(item.by_order) > 1 for item in stands)
    notices += _length_notices(parts, controlled, match, both_orders=both_orders, plan=plan)
    return Scores(
        scores=tuple(
            Score.of(
                part.interval,
                benchmark=plan.benchmark,
                model=match.model,
                judge=plan.judge,
                metric=part.metric,
            )
            for part in parts
        ),
        by_question=_by_question(judged, controlled),
        gate=parts[0].interval.value,
        details=details,
        notices=tuple(notices),
        verdicts={} if controlled is None else _verdicts(stands),
    )


def _details(
    rows: Sequence[Mapping[str, Any]],
    judged: Sequence[Judged],
    controlled: LengthControlled | None,
    match: Match,
    plan: Plan,
) -> dict[str, Any]:
    """What stands in `scores.json` whether or not there is a score."""
    rate = None if controlled is None else controlled.win_rate
    found: dict[str, Any] = {
        "alpaca_eval": figures.upstream_figures(judged, length_controlled_winrate=rate),
        "unparsed": sum(row["preference"] is None for row in rows),
        "questions": len(plan.questions),
        "judge": plan.judge,
        "repeats": plan.repeats,
        "references": match.opponent or plan.baseline,
        "prompts": "fenced" if plan.fenced else "upstream",
        "version": plan.version,
        "order_effect": asdict(figures.order_effect(judged)),
        "verdicts_from": dict(Counter(row["preference_from"] for row in rows)),
    }
    if controlled is not None:
        found["length_control"] = _fit(controlled, judged)
    return found


def _controlled(judged: Sequence[Judged], plan: Plan) -> LengthControlled | None:
    if plan.gamed is None or not judged:
        return None
    rows = figures.rows_of(judged, plan.gamed, by_position=plan.upstream_compat)
    return None if rows is None else length_controlled(*rows, c=plan.c)


def _plain_parts(
    stands: Sequence[Judged], even: Interval | None, match: Match, plan: Plan
) -> list[_Part]:
    """The metrics that nothing is fitted for, and against a model of one's own the rate at equal
    length."""
    wins = [(item.preference or 0.0) - 1 for item in stands]
    strata = [item.category for item in stands]
    discrete = [float(win > 0.5) if win != 0.5 else 0.5 for win in wins]
    against = "" if match.opponent is None else f"_vs_{match.opponent}"
    found = [
        _Part(f"win_rate{against}", _percent(_mean(wins, strata, plan))),
        _Part(f"discrete_win_rate{against}", _percent(_mean(discrete, strata, plan))),
    ]
    if against and even is not None:
        found.append(_Part(f"equal_length_win_rate{against}", even))
    return [*found, _Part("avg_length", _mean([item.len_2 for item in stands], strata, plan, None))]


def _controlled_part(judged: Sequence[Judged], controlled: LengthControlled, plan: Plan) -> _Part:
    """The fit's 95 % interval: instructions drawn within their data set, refitted at the same C."""
    assert plan.gamed is not None
    rows = figures.rows_of(judged, plan.gamed, by_position=plan.upstream_compat)
    assert rows is not None
    preferences = [item.preference for item in judged if item.preference is not None]
    n, rate = len(preferences), controlled.win_rate
    if np.ptp(preferences) < 1e-9:  # every draw would be the same fit
        interval = Interval(rate, *without_spread(rate, n, (0.0, 100.0)), n, n, "wilson")
        return _Part("length_controlled_winrate", interval)
    found = bootstrap(
        *rows,
        controlled,
        strata=[item.category for item in judged],
        replicates=plan.replicates,
        seed=plan.seed,
    )
    low, high = np.quantile(found, [0.025, 0.975])
    interval = Interval(rate, float(low), float(high), n, n, "bootstrap")
    return _Part("length_controlled_winrate", interval)


def _by_question(
    judged: Sequence[Judged], controlled: LengthControlled | None
) -> dict[Hashable, float]:
    """The main metric by instruction, so that two models' mean difference is the metric's.

    For length control these are pseudo-values: the rate plus what this instruction moves it by
    (infinitesimal jackknife, Efron 1982, ch. 6). Their mean is the rate, and their spread that of
    the fitted rate; upstream's fitted rates have the mean, and a spread 2 to 6 times too small.
    """
    if controlled is None:
        return {
            item.place: 100 * (item.preference - 1)
            for item in judged
            if item.preference is not None
        }
    return {
        item.place: controlled.win_rate + float(moved)
        for item, moved in zip(judged, controlled.influence, strict=True)
    }


def _verdicts(stands: Sequence[Judged]) -> dict[Hashable, float]:
    """The judge's probability of a win on each instruction, in percent, to one place: of most pairs
    it is sure, and two models' chances of a millionth are a tie."""
    return {item.place: round(100 * ((item.preference or 0.0) - 1), 1) for item in stands}


def _mean(
    values: Sequence[float],
    strata: Sequence[Hashable],
    plan: Plan,
    scale: Scale | None = RATE,
) -> Interval:
    return bootstrap_mean(
        values,
        list(range(len(values))),
        replicates=plan.replicates,
        seed=plan.seed,
        strata=dict(enumerate(strata)),
        scale=scale,
    )


def _percent(interval: Interval) -> Interval:
    value, low, high = (100 * part for part in (interval.value, interval.low, interval.high))
    return Interval(value, low, high, interval.n, interval.questions, interval.method)


def _categories(stands: Sequence[Judged], plan: Plan) -> dict[str, dict[str, float | int]]:
    """The win rate on each data set that instructions were taken from."""
    found = {}
    for category in dict.fromkeys(item.category for item in stands):
        wins = [(i.preference or 0.0) - 1 for i in stands if i.category == category]
        found[category] = bounds(_percent(_mean(wins, [category] * len(wins), plan)))
    return found


def _length(stands: Sequence[Judged], even: Interval | None) -> dict[str, Any]:
    """What length has to do with it: the ratio, and the plain regression's rate."""
    found: dict[str, Any] = {"ratio": figures.length_ratio(stands)}
    if even is not None:
        found["equal_length_win_rate"] = bounds(even)
    return found


def _fit(controlled: LengthControlled, judged: Sequence[Judged]) -> dict[str, Any]:
    spread = float(controlled.influence.std(ddof=1)) if len(judged) > 1 else math.nan
    return {
        "c": controlled.c,
        "weights": dict(zip(("length", "difficulty", "constant"), controlled.weights, strict=True)),
        "upstream_standard_error": controlled.upstream_standard_error,
        "standard_error": spread / math.sqrt(len(judged)),
    }


def _notices(
    rows: Sequence[Mapping[str, Any]], judged: Sequence[Judged], match: Match, *, plan: Plan
) -> list[str]:
    found = []
    effect = figures.order_effect(judged)
    if len(plan.questions) < ALL_INSTRUCTIONS:
        found.append(
            f"{match.label}: incomplete, {len(plan.questions)} of {ALL_INSTRUCTIONS} instructions "
            "were asked"
        )
    by_text = sum(row["preference_from"] == "text" for row in rows)
    if plan.version == 2 and by_text:
        found.append(
            f"{match.label}: {by_text} of {len(rows)} verdicts are the letter that the judge "
            "wrote, so 0 or 1: it gave no probabilities"
        )
    if effect.first is not None and effect.second is not None:
        strong = abs(effect.first - effect.second) > _STRONG_ORDER
        if strong or (effect.flips or 0.0) > _MANY_FLIPS:
            flips = "" if effect.flips is None else f"; {effect.flips:.0%} of the winners flip"
            found.append(
                f"{match.label}: the order decides much: {effect.first:.1f} % shown first, "
                f"{effect.second:.1f} % shown second{flips}"
            )
    return found


def _length_notices(
    parts: Sequence[_Part],
    controlled: LengthControlled | None,
    match: Match,
    *,
    both_orders: bool,
    plan: Plan,
) -> list[str]:
    if match.opponent is not None:
        return [
            f"{match.label}: no length-controlled win rate, which is calibrated for upstream's "
            "baseline alone; see the rate at equal length"
        ]
    if plan.version == 1:
        return []
    if controlled is None:
        return [f"{match.label}: no length-controlled win rate: the lengths do not vary"]
    found = []
    annotator = protocol.ANNOTATORS[2]
    other = [] if plan.judge.startswith(annotator.model) else [plan.judge]
    if both_orders:
        other.append("both orders")
    if other:
        found.append(
            f"{match.label}: length control is calibrated for the judge {annotator.model} and one "
            f"order, not for {' and '.join(other)}"
        )
    rate = next(part.interval.value for part in parts if part.metric == "win_rate")
    if is_far(rate, controlled.win_rate):
        found.append(
            f"{match.label}: length control moves the win rate from {rate:.1f} % to "
            f"{controlled.win_rate:.1f} %: the fit may have failed"
        )
    return found
