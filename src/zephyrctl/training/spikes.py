"""Does the loss of a step stand out of those before it?

Notices only: a spike may be a broken row, a rate that is too high, or nothing. llm-foundry ends a
run at losses of twice the mean of the last 100 steps; here such a step must also be far outside of
the spread of those steps, because the loss of small preference batches doubles by itself.
"""

import statistics

WINDOW = 100
"""Steps that a loss is compared with (llm-foundry's KillLossSpike: 100, or 5 % of the run)."""
FEWEST = 20
"""Steps from which on the comparison means something."""
TIMES = 2.0
"""Of the mean (llm-foundry's outlier multiplier)."""
SPREADS = 10.0
"""Standard deviations over the median, by the median of deviations."""
_MAD_TO_DEVIATION = 1.4826
MOST_TOLD = 20
"""Notices of one run; later spikes are counted only."""


def usual(losses: list[float]) -> float | None:
    """The largest loss that is no spike after these, oldest first; None after too few."""
    if len(losses) < FEWEST:
        return None
    middle = statistics.median(losses)
    spread = _MAD_TO_DEVIATION * statistics.median(abs(loss - middle) for loss in losses)
    return max(TIMES * statistics.fmean(losses), middle + SPREADS * spread)


def add(losses: list[float], loss: float) -> float | None:
    """Append a step's loss to those of the last WINDOW steps, in place.

    Returns the limit that it is over; None where it is no spike.
    """
    limit = usual(losses)
    losses.append(loss)
    del losses[:-WINDOW]
    return limit if limit is not None and loss > limit else None
