"""Which canaries has a training stage passed so far, and what is said of the others?

Each check is named; the latest outcome stands, and a notice is given when one comes out worse than
before. What stands is kept in `Progress`, so that a resumed run neither forgets nor repeats it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from zephyrctl.config.schema.training import Canary, Dpo, Training
from zephyrctl.runs.metrics import Reporter
from zephyrctl.runs.verdict import Check, State, worse
from zephyrctl.training import health, sample_checks, weights
from zephyrctl.training.progress import Progress
from zephyrctl.training.sample_checks import Measures

Values = Mapping[str, float]

_NEAR = 0.05
"""A canary of a place in the run holds up to this share of the steps after it."""
_IN_EVALUATION = {
    "eval_loss": "loss",
    "reward_accuracy": "rewards/accuracies",
    "reward_margin": "rewards/margins",
    "chosen_logps": "logps/chosen",
    "rejected_logps": "logps/rejected",
}
_STEPS_TOLERANCE = 0.02
_TOO_SHORT = "too few steps or records"
_NO_HELD_OUT = "nothing is held out"
_NO_SAMPLES = "no sample prompts"


class Canaries:
    """The checks of one stage."""

    def __init__(self, training: Training, progress: Progress, reporter: Reporter) -> None:
        self.training = training
        self.progress = progress
        self.reporter = reporter
        self.probe: weights.Probe | None = None
        """Weights to compare with, until they were."""
        self._warmup = 0

    def note(self, checks: Iterable[Check | None], *, step: int) -> None:
        """Keep outcomes; what came out worse than the last time is said, once."""
        for check in checks:
            if check is None:
                continue
            before: State | None = self.progress.checks.get(check.name, {}).get("state")
            self.progress.checks[check.name] = asdict(check)
            if check.state in ("warn", "fail") and worse(check.state, before):
                self.reporter.notice(
                    f"step {step}: {check.text}" if step else check.text, level="warning"
                )

    def before_training(self, *, steps: int) -> None:
        """The number of steps against that of the published run (C2)."""
        published = self.training.expected.get("steps")
        if published is None:
            return
        name = "number of steps"
        room = max(published.tolerance, _STEPS_TOLERANCE * published.value)
        band = f"{published.value:.0f} ± {room:.0f}"
        if abs(steps - published.value) <= room:
            self.note([Check(name, "pass", value=steps, band=band)], step=0)
            return
        text = (
            f"this stage takes {steps} steps, the published run took {published.value:.0f}"
            f"{f' ({published.source})' if published.source else ''}: another packing, split, "
            "number of epochs or global batch"
        )
        self.note([Check(name, "warn", text, steps, band)], step=0)

    def begin(self, model: Any, *, step: int, warmup: int) -> None:
        """Sample the weights, but where an attempt that was broken off did so already."""
        self._warmup = warmup
        if "weights move" in self.progress.checks:
            return
        now = weights.sample(model)
        if self.probe is None or not self.probe.fits(now):  # ranks that hold other parts now
            self.probe = weights.Probe(now, step)

    def save(self, folder: Path) -> None:
        """Keep the sample in a checkpoint as long as it is needed."""
        if self.probe is not None:
            self.probe.save(folder)

    def after_step(self, model: Any, *, step: int, total: int) -> None:
        """Compare the weights once, ten updates after warm-up or at the end (C2)."""
        if self.probe is None:
            return
        due = max(self.probe.step, self._warmup) + weights.UPDATES
        updates = step - self.probe.step
        if step < min(due, total) or updates < 2:
            return
        now = weights.sample(model)
        share = weights.share_moved(self.probe.values, now)
        rounded = weights.is_rounded(now)
        self.note([health.weights_move(share, rounded=rounded, updates=updates)], step=step)
        sizes = weights.adapter_sizes(model)
        if sizes:
            self.note([health.adapters_move(sizes, updates=updates)], step=step)
        self.probe = None

    def on_record(self, values: Values, *, step: int, total: int) -> None:
        """A training record: means over the last steps."""
        progress = self.progress
        progress.losses.append(values["loss"])
        done = step / total
        norm = values.get("grad_norm")
        if norm is not None:
            progress.grad_norms.append(norm)
        may_be_zero = isinstance(self.training, Dpo) and "hinge" in self.training.loss
        self.note(
            [
                None if may_be_zero else health.loss_is_zero(values["loss"]),
                health.loss_course(progress.losses, share_done=done),
                health.nothing_left(values["loss"], share_done=done),
                health.gradient_norm(progress.grad_norms) if norm is not None else None,
            ],
            step=step,
        )
        self._own({"loss": "loss"}, values, step=step, total=total)

    def on_evaluation(self, values: Values, *, step: int, total: int) -> None:
        """Metrics of the held-out split."""
        if step and isinstance(self.training, Dpo) and "rewards/margins" in values:
            start = self.progress.first_evaluation
            found = health.preferences(self.training, start, values, share_done=step / total)
            self.note(found, step=step)
        self._own(_IN_EVALUATION, values, step=step, total=total)

    def on_samples(self, now: Measures, before: Measures | None, *, step: int, total: int) -> None:
        """Answers to the sample prompts (C7)."""
        if not step:
            return
        self.note(sample_checks.samples(now, before, share_done=step / total), step=step)
        if isinstance(self.training, Dpo) and before is not None:
            self.note([sample_checks.length(now, before)], step=step)

    def finish(self, *, steps: int) -> list[Check]:
        """Every check of this stage, those for which nothing was measured included."""
        progress = self.progress
        rate = health.learning_rate(
            self.training,
            highest=progress.highest_rate,
            last=progress.last_rate,
            warmup=self._warmup,
            steps=steps,
            changed=progress.changed,
        )
        self.note([rate], step=steps)
        for name, reason in self._due().items():
            if name not in self.progress.checks:
                self.note([Check(name, "not checked", reason)], step=steps)
        return [Check(**check) for check in self.progress.checks.values()]

    def _own(self, names: Mapping[str, str], values: Values, *, step: int, total: int) -> None:
        """The ranges that the recipe gives for those of its metrics that are in `names`."""
        for canary in self.training.canaries:
            name = names.get(canary.metric)
            if name is None or name not in values or not _is_at(canary, step, total):
                continue
            check = health.in_band(canary, values[name])
            seen = self.progress.checks.get(check.name)
            if canary.at in (None, 1.0) or seen is None:
                self.note([check], step=step)

    def _due(self) -> dict[str, str]:
        """The checks that every run of this stage should make, with the reason why one did not."""
        due = {
            "number of steps": "no published run",
            "loss falls": _TOO_SHORT,
            "gradient norm": _TOO_SHORT,
            "weights move": _TOO_SHORT,
            "answers end": _NO_SAMPLES,
            "published model is the trained one": _NO_HELD_OUT,
        }
        if self.training.adapter.type != "none":
            due["adapters move"] = _TOO_SHORT
        if isinstance(self.training, Dpo):
            due["reward accuracy"] = _NO_HELD_OUT
            if self.training.has_reference:
                due["reward margin"] = _NO_HELD_OUT
            due["chosen log-probs"] = _NO_HELD_OUT
        for canary in self.training.canaries:
            check = health.unmet(canary, reason="nothing was measured at that place")
            due[check.name] = check.text
        return due


def _is_at(canary: Canary, step: int, total: int) -> bool:
    """Whether a record of this step is one that the canary is about."""
    if canary.at is None:
        return step > 0
    if canary.at == 0:
        return step == 0
    if canary.at == 1:
        return step == total
    return canary.at <= step / total <= canary.at + _NEAR
