"""Do enough verdicts stand to print a score?"""

from __future__ import annotations

from dataclasses import replace

from zephyrctl.evaluation.benchmark import Scores

# Below the first, a score is marked incomplete; below the second, there is none. A weak judge that
# left 120 of 160 judgments without a rating is otherwise a mean of 40.
COMPLETE_COVERAGE, MINIMAL_COVERAGE = 0.95, 0.80


def shortfall(label: str, coverage: float) -> list[str]:
    """What has to be said of a score that rests on `coverage` (0 to 1) of its verdicts."""
    if coverage < MINIMAL_COVERAGE:
        return [f"{label}: {coverage:.1%} of the verdicts stand, under 80 %: no score"]
    if coverage < COMPLETE_COVERAGE:
        return [f"{label}: incomplete, {coverage:.1%} of the verdicts stand"]
    return []


def shortened(scores: Scores, label: str, *, asked: int, total: int) -> Scores:
    """`scores` as they are told of fewer questions than the benchmark has."""
    if asked >= total:
        return scores
    notice = f"{label}: incomplete, {asked} of {total} questions were asked"
    return replace(
        scores,
        details={**scores.details, "incomplete": True},
        notices=(*scores.notices, notice),
    )
