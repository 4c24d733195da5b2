"""What in the numbers of a training run should worry its owner?

Pure checks, each of which returns a `Check`, or nothing where it is too early to judge. Bands come
from the published logs of zephyr-7b-sft-full and zephyr-7b-dpo-full.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import median

from zephyrctl.config.schema.training import Canary, Dpo, Training
from zephyrctl.runs.verdict import Check

Values = Mapping[str, float]

TOO_GOOD_ACCURACY = 0.97
MANY_PAIRS = 100
"""Held-out pairs from which a reward accuracy says something."""
DISPLACEMENT, DISPLACEMENT_OF_ADAPTERS = 1.75, 2.3
"""Chosen log-probs this many times as low as at the start count as drift (C6: −285 → −500 for all
weights, −650 for adapters)."""
LEAST_FALL = 20.0
"""Nats; short answers double their few nats without any harm."""
LEAST_MARGIN = 0.05
LEAST_MARGIN_SHARE = 0.0178
"""C5: an adapter with a margin under 0.05 at beta 0.01 learns too slowly; that is 5 nats where the
chosen answers have 281."""
MIN_RECORDS = 8
STUCK, RISEN = 0.995, 1.2
"""A loss that kept more than this share of itself, first quarter of the records to last."""
NOTHING_LEFT, TOO_EARLY = 0.01, 0.3
SPIKE = 10.0
"""Gradient norms this many times the median so far are spikes."""
RATE_TOLERANCE = 0.02


def loss_is_zero(loss: float) -> Check:
    """A loss of exactly 0 means that no token is trained or that precision is broken (C3)."""
    if loss == 0.0:
        text = "the training loss is exactly 0: no token is trained, or the precision is broken"
        return Check("loss above 0", "fail", text, loss, "above 0")
    return Check("loss above 0", "pass", value=loss, band="above 0")


def loss_course(losses: Sequence[float], *, share_done: float) -> Check | None:
    """`losses` are means of the windows so far, in order."""
    if share_done < 0.5 or len(losses) < MIN_RECORDS:
        return None
    quarter = len(losses) // 4
    first, last = sum(losses[:quarter]) / quarter, sum(losses[-quarter:]) / quarter
    name, band = "loss falls", f"below {STUCK * first:.4g}"
    found = f"({first:.3f} at first, {last:.3f} lately)"
    if not last < STUCK * first:
        rises = last > RISEN * first
        text = (
            f"the training loss rises {found}: is the learning rate too high?"
            if rises
            else f"the training loss does not fall {found}: is the learning rate too low?"
        )
        return Check(name, "warn", text, last, band)
    return Check(name, "pass", value=last, band=band)


def nothing_left(loss: float, *, share_done: float) -> Check | None:
    """A loss near 0 early on: the rest of the run has nothing to learn from (margin saturation)."""
    if share_done >= TOO_EARLY:
        return None
    name, band = "loss keeps a gradient", f"above {NOTHING_LEFT} in the first {TOO_EARLY:.0%}"
    if 0 < loss < NOTHING_LEFT:
        text = (
            f"the training loss is {loss:.4f} after {share_done:.0%} of the steps: the examples "
            "are learnt by heart, or one flaw tells all answers apart; what follows adds nothing"
        )
        return Check(name, "warn", text, loss, band)
    return Check(name, "pass", value=loss, band=band)


def gradient_norm(norms: Sequence[float]) -> Check | None:
    """The newest of the norms so far against the median of those before it."""
    if len(norms) <= 2 * MIN_RECORDS:
        return None
    usual = median(norms[:-1])
    name, band = "gradient norm", f"below {SPIKE:.0f} times the median"
    if norms[-1] > SPIKE * usual > 0:
        text = (
            f"the gradient norm is {norms[-1]:.3g}, {norms[-1] / usual:.0f} times the median so "
            "far: broken rows in this step, or a learning rate that is too high"
        )
        return Check(name, "warn", text, norms[-1], band)
    return Check(name, "pass", value=norms[-1], band=band)


def learning_rate(
    training: Training,
    *,
    highest: float,
    last: float,
    warmup: int,
    steps: int,
    changed: Sequence[str] = (),
) -> Check:
    """Whether the rate reached its peak and went down again as the schedule says (C2).

    A wrong number of steps shows here: the rate never warms up, or ends high. After inputs were
    `changed` within the training, no one schedule says it.
    """
    name = "learning rate"
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        return Check(name, "not checked", f"{changed[0]}{more} changed within it, as allowed")
    if "lr_scheduler_kwargs" in training.trainer_args:
        return Check(name, "not checked", "the schedule has settings of its own")
    schedule = [_factor(training.lr_scheduler, n, warmup=warmup, steps=steps) for n in range(steps)]
    peak, end = (training.learning_rate * part for part in (max(schedule), schedule[-1]))
    band = f"peak {peak:.3g}, end {end:.2g}"
    room = RATE_TOLERANCE * training.learning_rate
    if abs(highest - peak) > room or abs(last - end) > room:
        text = (
            f"the learning rate reached {highest:.3g} and ended at {last:.3g}, the schedule says "
            f"{peak:.3g} and {end:.3g}: it was made for another number of steps"
        )
        return Check(name, "fail", text, highest, band)
    return Check(name, "pass", value=highest, band=band)


def _factor(schedule: str, step: int, *, warmup: int, steps: int) -> float:
    """Share of the peak rate at a step, from 0 (transformers 5.23, `optimization.py`)."""
    if schedule == "constant":
        return 1.0
    if step < warmup:
        return step / warmup
    done = (step - warmup) / max(1, steps - warmup)
    if schedule == "linear":
        return 1.0 - done
    wave = 0.5 * (1.0 + math.cos(math.pi * done))
    return 0.1 + 0.9 * wave if schedule == "cosine_with_min_lr" else wave


def weights_move(share: float, *, rounded: bool, updates: int) -> Check:
    """`share` of sampled weights that differ from before training (C2).

    `rounded`: they are kept in bfloat16, where an update may wait in what rounding keeps apart.
    """
    name, band = "weights move", "some" if rounded else "above 90 %"
    if share == 0.0:
        text = f"no sampled weight has changed in {updates} updates: nothing is trained"
        return Check(name, "fail", text, share, band)
    if share <= 0.9 and not rounded:
        text = (
            f"only {share:.0%} of the sampled weights have changed in {updates} updates: the "
            "updates are lost to rounding, or parts of the model get no gradient"
        )
        return Check(name, "warn", text, share, band)
    return Check(name, "pass", value=share, band=band)


def adapters_move(sizes: Mapping[str, float], *, updates: int) -> Check:
    """`sizes`: root mean square of each adapter's second matrix, which is 0 before training."""
    name, band = "adapters move", "every one above 0"
    still = [module for module, size in sizes.items() if size == 0.0]
    overall = math.sqrt(sum(size**2 for size in sizes.values()) / max(1, len(sizes)))
    if still:
        text = (
            f"{len(still)} of {len(sizes)} adapters are still zero after {updates} updates "
            f"({still[0]}): they get no gradient"
        )
        return Check(name, "fail" if len(still) == len(sizes) else "warn", text, overall, band)
    return Check(name, "pass", value=overall, band=band)


def preferences_begin(loss: float, *, expected: float | None) -> Check:
    """Policy and reference agreed before the first step (C4); no stage begins where they do not."""
    band = "margin 0" if expected is None else f"loss {expected:.4f}, margin 0"
    return Check("policy is the reference at first", "pass", value=loss, band=band)


def preferences(training: Dpo, start: Values, now: Values, *, share_done: float) -> list[Check]:
    """Held-out preference metrics against those before training; `start` may be empty."""
    found = [_accuracy(now, share_done=share_done)]
    if training.has_reference:
        found.append(_margin(training, start, now, share_done=share_done))
    if start:
        adapter = training.adapter.type != "none"
        found.append(_displacement(start["logps/chosen"], now["logps/chosen"], adapter=adapter))
    return [check for check in found if check is not None]


def _accuracy(now: Values, *, share_done: float) -> Check | None:
    name, band = "reward accuracy", f"0.5 to {TOO_GOOD_ACCURACY}"
    accuracy = now["rewards/accuracies"]
    if share_done >= 0.5 and accuracy < 0.5:
        text = (
            f"held-out reward accuracy is {accuracy:.2f}, under chance: are chosen and rejected "
            "swapped?"
        )
        return Check(name, "warn", text, accuracy, band)
    if accuracy > TOO_GOOD_ACCURACY and now.get("pairs", 0) >= MANY_PAIRS:
        text = (
            f"held-out reward accuracy is {accuracy:.2f}, too good for real preferences: does the "
            "held-out split overlap with training, or one flaw mark all rejected answers?"
        )
        return Check(name, "warn", text, accuracy, band)
    return Check(name, "pass", value=accuracy, band=band) if share_done >= 0.5 else None


def _margin(training: Dpo, start: Values, now: Values, *, share_done: float) -> Check | None:
    if share_done < 0.5:
        return None
    margin = now["rewards/margins"]
    nats = abs(start.get("logps/chosen", now["logps/chosen"]))
    least = min(LEAST_MARGIN, training.beta * LEAST_MARGIN_SHARE * nats)
    name, band = "reward margin", f"above {least:.2g} by half the steps"
    if abs(margin) < least:
        text = (
            f"the reward margin is still {margin:.4f}: the policy hardly moves; "
            "adapters need about ten times the learning rate of full fine-tuning"
        )
        return Check(name, "warn", text, margin, band)
    return Check(name, "pass", value=margin, band=band)


def _displacement(before: float, after: float, *, adapter: bool) -> Check:
    limit = (DISPLACEMENT_OF_ADAPTERS if adapter else DISPLACEMENT) * before
    limit = min(limit, before - LEAST_FALL)
    name, band = "chosen log-probs", f"above {limit:.0f}"
    if after < limit:
        text = (
            f"chosen answers became much less likely (log-prob {before:.0f} → {after:.0f}): "
            "read the samples; a lower learning rate or a larger beta drifts less"
        )
        return Check(name, "warn", text, after, band)
    return Check(name, "pass", value=after, band=band)


def in_band(canary: Canary, value: float) -> Check:
    """A metric against the range that the recipe gives for it."""
    name = f"{canary.metric} {_place(canary)}"
    low, high = canary.above, canary.below
    fits = (low is None or value > low) and (high is None or value < high)
    ends = (("above", low), ("below", high))
    band = " and ".join(f"{word} {end:g}" for word, end in ends if end is not None)
    if not fits:
        source = f" ({canary.source})" if canary.source else ""
        text = f"{canary.metric} is {value:.4g} {_place(canary)}, expected {band}{source}"
        return Check(name, "warn", text, value, band)
    return Check(name, "pass", value=value, band=band)


def _place(canary: Canary) -> str:
    if canary.at is None:
        return "throughout"
    return "at the end" if canary.at == 1 else f"at {canary.at:.0%} of the steps"


def unmet(canary: Canary, *, reason: str) -> Check:
    """A recipe's canary for which nothing was measured at its place."""
    return Check(f"{canary.metric} {_place(canary)}", "not checked", reason)
