"""What are AlpacaEval's figures of annotations that somebody stored?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from zephyrctl.evaluation.alpaca_eval.annotations import Judged, read_annotations
from zephyrctl.evaluation.alpaca_eval.figures import length_controlled_of, upstream_figures
from zephyrctl.evaluation.alpaca_eval.formats import (
    ALL_INSTRUCTIONS,
    Gamed,
    Version,
    read_baseline,
    read_gamed,
)
from zephyrctl.evaluation.alpaca_eval.metrics import is_far
from zephyrctl.evaluation.coverage import MINIMAL_COVERAGE, shortfall

_RATES = ("win_rate", "standard_error", "discrete_win_rate", "length_controlled_winrate")


@dataclass(frozen=True)
class Rescored:
    """Upstream's figures under upstream's names, and what has to be said of them.

    `stands` is false where less than 80 % of the rows have a preference; the rates are then None.
    """

    figures: dict[str, Any]
    notices: tuple[str, ...]
    stands: bool


@dataclass(frozen=True)
class Inputs:
    """Files and settings of one rescoring.

    Without `baseline_outputs` an instruction's place comes from the row itself, or from its
    position in a file of all 805; `c` None is chosen by cross-validation.
    """

    annotations: Path
    version: Version
    df_gamed: Path | None = None
    baseline_outputs: Path | None = None
    c: float | None = None
    upstream_compat: bool = False


def rescore(inputs: Inputs) -> Rescored:
    """Every figure from stored files alone; DataError for a file that is none of the formats."""
    instructions = None
    if inputs.baseline_outputs is not None:
        known, _ = read_baseline(inputs.baseline_outputs)
        instructions = [item.turns[0] for item in known]
    stored = read_annotations(inputs.annotations, instructions=instructions)
    judged = stored.judged
    notices = _notices(judged, version=inputs.version, dropped=stored.dropped)
    gamed = read_gamed(inputs.df_gamed) if inputs.df_gamed is not None else None
    controlled, said = (50.0, []) if stored.is_baseline else _controlled(judged, gamed, inputs)
    figures = upstream_figures(judged, length_controlled_winrate=controlled)
    rate = figures["win_rate"]
    if controlled is not None and rate is not None and is_far(rate, controlled):
        said.append(
            f"length control moves the win rate from {rate:.1f} % to {controlled:.1f} %: the fit "
            "may have failed, or the lengths say it all"
        )
    coverage = figures["n_total"] / len(judged)
    stands = coverage >= MINIMAL_COVERAGE
    if not stands:
        figures |= dict.fromkeys(_RATES)
    name = inputs.annotations.name
    return Rescored(figures, (*notices, *said, *shortfall(name, coverage)), stands)


def _controlled(
    judged: Sequence[Judged], gamed: Gamed | None, inputs: Inputs
) -> tuple[float | None, list[str]]:
    """The length-controlled win rate, or None and why."""
    if gamed is None:
        return None, ["no length-controlled win rate without --df-gamed FILE"]
    said = []
    if inputs.version == 1:
        said.append("length control has the difficulties of version 2's judge and baseline")
    placed = judged
    if not inputs.upstream_compat and any(item.place is None for item in judged):
        if len(judged) != len(gamed.difficulty_of):
            said.append(
                f"no length-controlled win rate: which of the {len(gamed.difficulty_of)} "
                f"instructions these {len(judged)} rows have is not known; give --baseline-outputs"
            )
            return None, said
        said.append(
            "the rows are taken to be in the data set's order; --baseline-outputs looks them up"
        )
        placed = [replace(item, place=place) for place, item in enumerate(judged)]
    fit = length_controlled_of(placed, gamed, c=inputs.c, by_position=inputs.upstream_compat)
    if fit is None:
        return None, [*said, "no length-controlled win rate: the lengths do not vary"]
    if inputs.upstream_compat and len(judged) < len(gamed.difficulty_of):
        said.append(
            f"difficulties by row position, as upstream: {len(gamed.difficulty_of) - len(judged)} "
            "missing rows shift those behind them"
        )
    return fit.win_rate, said


def _notices(judged: Sequence[Judged], *, version: Version, dropped: int) -> list[str]:
    found = []
    if dropped:
        found.append(f"{dropped} rows were replaced by later rows of the same question")
    if len(judged) < ALL_INSTRUCTIONS:
        found.append(f"incomplete: {len(judged)} of {ALL_INSTRUCTIONS} instructions")
    whole = {None, 1.0, 1.5, 2.0}
    if version == 1 and any(item.preference not in whole for item in judged):
        found.append("the preferences are probabilities, as version 2 has them")
    return found
