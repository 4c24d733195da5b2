"""What is printed of a judge's agreement with people?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zephyrctl.errors import DataError
from zephyrctl.evaluation import agreement
from zephyrctl.evaluation.agreement import Estimate
from zephyrctl.evaluation.statistics import Interval
from zephyrctl.evaluation.votes import read_human_votes, read_verdicts
from zephyrctl.reports.numbers import NOTHING, percent
from zephyrctl.reports.tables import aligned

_REPLICATES, _SEED = 1000, 0


@dataclass(frozen=True)
class Found:
    """One comparison of a judge with people. `table` is what `--json` prints."""

    turn: int
    table: dict[str, Any]
    rates: Mapping[str, Interval]
    kappas: Mapping[str, Estimate]
    flips: int
    pairs: int
    notices: list[str]


def between(human: Path, judge: Path, *, turn: int) -> Found:
    """Compare two files on one turn; DataError where one of them holds nothing of its kind, or they
    have no pair of answers in common."""
    people, verdicts = read_human_votes(human), read_verdicts(judge)
    votes = agreement.of_turn(people.votes, turn)
    on_turn = {item: verdict for item, verdict in verdicts.by_item.items() if item[1] == turn}
    with_judge = agreement.with_people(on_turn, votes)
    for path, rows, what in ((human, people.votes, "vote of a person"),
                             (judge, verdicts.by_item, "verdict on a pair")):  # fmt: skip
        if not rows:
            raise DataError(f"the file holds no {what}", where=str(path))
    if not with_judge:
        raise DataError(
            f"the judge's file and the votes have no pair of answers on turn {turn} in common",
            where=str(judge),
            hint=f"--turn {3 - turn}, or another file",
        )
    among = agreement.among_people(votes)
    parts = {
        "with_ties": with_judge,
        "without_ties": agreement.without_ties(with_judge),
        "human_human_with_ties": among,
        "human_human_without_ties": agreement.without_ties(among),
    }
    notices = []
    if verdicts.duplicates:
        notices.append(f"{verdicts.duplicates} earlier verdicts on the same pairs do not count")
    if verdicts.errors:
        notices.append(f"{verdicts.errors} pairs have no verdict that can be read")
    if people.authors or people.models:
        notices.append(
            f"left out: {people.authors} votes of the paper's authors, {people.models} of models"
        )
    return Found(
        turn=turn,
        table=agreement.table(with_judge, among),
        rates={
            name: agreement.rate(part, replicates=_REPLICATES, seed=_SEED)
            for name, part in parts.items()
        },
        kappas={
            "judge": agreement.kappa(with_judge, replicates=_REPLICATES, seed=_SEED),
            "human": agreement.kappa(among, replicates=_REPLICATES, seed=_SEED, exchangeable=True),
        },
        flips=sum(not verdict.is_consistent for verdict in on_turn.values()),
        pairs=len(on_turn),
        notices=notices,
    )


def agreement_lines(found: Found) -> list[str]:
    """The table as lines of at most 80 columns."""
    table = found.table
    rows = [["", "with ties", "", "without ties", ""]]
    for label, prefix in (("judge and human", ""), ("human and human", "human_human_")):
        cells = [label]
        for name in (f"{prefix}with_ties", f"{prefix}without_ties"):
            cells += [_fraction(table[name]), _rate(found.rates[name])]
        rows.append(cells)
    by_category = [["category", "with ties", "", "without ties", "", "human, without ties"]]
    for name, part in table["by_category"].items():
        cells = [name]
        for key in ("with_ties", "without_ties"):
            cells += [_fraction(part[key]), _share(part[key])]
        by_category.append([*cells, _share(part["human_human_without_ties"])])
    return [
        f"turn {found.turn}, 95 % intervals over questions",
        "",
        *aligned(rows, left=(0, 2, 4)),
        "",
        f"Cohen's κ: judge and human {_kappa(found.kappas['judge'])}, "
        f"human and human {_kappa(found.kappas['human'])}",
        f"the verdict changed with the order in {found.flips} of {found.pairs} pairs"
        f" ({percent(found.flips / found.pairs, places=1)}): ties",
        "",
        *aligned(by_category, left=(0, 2, 4)),
    ]


def _fraction(count: Mapping[str, int]) -> str:
    return f"{count['agree']}/{count['total']}"


def _share(count: Mapping[str, int]) -> str:
    return percent(count["agree"] / count["total"]) if count["total"] else NOTHING


def _rate(interval: Interval) -> str:
    if not interval.n:
        return NOTHING
    return f"{percent(interval.value)} [{100 * interval.low:.0f}, {100 * interval.high:.0f}]"


def _kappa(estimate: Estimate) -> str:
    if math.isnan(estimate.value):
        return NOTHING
    bounds = "" if math.isnan(estimate.low) else f" [{estimate.low:.2f}, {estimate.high:.2f}]"
    return f"{estimate.value:.2f}{bounds}"
