"""What happens around each optimizer step?

One callback: it counts, reports, takes samples, and commits checkpoints.
"""

import math
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from zephyrctl.config.schema.training import Training
from zephyrctl.errors import TrainingDiverged
from zephyrctl.runs import faults, heartbeat
from zephyrctl.runs.metrics import Reporter
from zephyrctl.runs.store import StageDir
from zephyrctl.training import checkpoints, memory, saving, spikes, weights
from zephyrctl.training.canaries import Canaries
from zephyrctl.training.order import Order
from zephyrctl.training.processes import World, any_rank, barrier, by_first
from zephyrctl.training.progress import EVALUATION, SAMPLES, Progress
from zephyrctl.training.samples import Sampler

CHEAP_SECONDS = 300
"""Training time that may be lost in place of writing a last checkpoint."""
_TIMINGS = ("runtime", "samples_per_second", "steps_per_second", "model_preparation_time", "epoch")
"""What transformers adds to held-out metrics and is no result."""


class Watch(TrainerCallback):
    """Accounts for one training run; `progress` holds what outlives a kill."""

    def __init__(
        self,
        *,
        training: Training,
        folder: StageDir,
        reporter: Reporter,
        sampler: Sampler,
        world: World,
        progress: Progress,
        work: checkpoints.Work,
        order: Order,
    ) -> None:
        self.training = training
        self.folder = folder
        self.reporter = reporter
        self.sampler = sampler
        self.world = world
        self.progress = progress
        self.work = work
        self.order = order
        self.canaries = Canaries(training, progress, reporter)
        self.keep_batch: Callable[[int, float], Path] | None = None
        """Writes down the examples of a step with its loss; returns the file."""
        self._held_out: tuple[int, float] | None = None
        """Step and loss of the last evaluation in this process."""
        self._began_at = 0
        self._tokens_seen = 0
        self._seconds_saved = progress.seconds
        self._step_began = 0.0
        self._step_seconds = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called once, after a checkpoint was loaded, before the first step of this attempt."""
        self._began_at = state.global_step
        warmup = args.get_warmup_steps(state.max_steps)
        self.canaries.begin(kwargs["model"], step=state.global_step, warmup=warmup)
        if SAMPLES in self.progress.owed:
            self.take_samples(step=state.global_step, total=state.max_steps)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock of this step."""
        self._step_began = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """After the update, before records, evaluation and checkpoint of this step."""
        self._step_seconds = time.perf_counter() - self._step_began
        step = state.global_step
        heartbeat.beat("steps")
        self._meet_fault(kwargs["model"], step=step)
        self.canaries.after_step(kwargs["model"], step=step, total=state.max_steps)
        if step == state.max_steps:
            weights.check_end(kwargs["model"], step=step, where=self.folder.path)
        if self._is_sample_due(step, total=state.max_steps):
            self.take_samples(step=step, total=state.max_steps)
        if step == state.max_steps and self._is_end_cheap(step, device=args.device):
            control.should_save = False

    def on_substep_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A forward and backward pass is done, and the step is not."""
        heartbeat.beat("passes")

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called after every step (with `loss`), after evaluations, and at the end."""
        logs: dict[str, Any] = kwargs["logs"]
        state.log_history.clear()  # it would grow into every checkpoint; our records are the log
        if "loss" not in logs:
            return
        values = {k: float(v) for k, v in logs.items() if isinstance(v, int | float)}
        seen = int(values.pop("num_tokens", self._tokens_seen))
        self.progress.tokens += seen - self._tokens_seen
        self.progress.seconds += self._step_seconds
        values |= {"step_tokens": seen - self._tokens_seen, "step_seconds": self._step_seconds}
        self._tokens_seen = seen
        values.pop("epoch", None)
        self.progress.add_step(values)
        self._look_for_spike(values["loss"], step=state.global_step)
        if state.global_step % self.training.log_every == 0 or state.global_step == state.max_steps:
            self._record(state.global_step, total=state.max_steps)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Report what `evaluate` measured on the held-out split."""
        if state.global_step == self._began_at > 0 and EVALUATION not in self.progress.owed:
            return  # killed after the last step: what it measured stands in the records already
        metrics: dict[str, Any] = kwargs["metrics"]
        values = {
            name: float(value)
            for key, value in metrics.items()
            if (name := key.removeprefix("eval_")) not in (*_TIMINGS, "num_tokens")
        }
        self.report_evaluation(values, step=state.global_step, total=state.max_steps)

    def report_evaluation(self, values: dict[str, float], *, step: int, total: int) -> None:
        """Record held-out metrics, and say what in them is worrying; TrainingDiverged where their
        loss is not a number."""
        if not math.isfinite(values.get("loss", 0.0)):
            raise TrainingDiverged(
                f"the held-out loss is {values['loss']} at step {step}",
                where=str(self.folder.path),
                hint="a lower learning_rate" if step else "the starting model's weights are broken",
            )
        progress = self.progress
        progress.first_evaluation = progress.first_evaluation or values
        progress.last_evaluation = values
        self._held_out = (step, values["loss"]) if "loss" in values else None
        progress.pay(EVALUATION)
        self.reporter.metrics(step=step, total=total, values=values, split="eval")
        self.canaries.on_evaluation(values, step=step, total=total)

    def take_samples(self, *, step: int, total: int) -> None:
        """Answer the sample prompts, and look at the answers; every rank must call it. What a stop
        broke off is owed."""
        if not self.sampler.prompts:
            return
        if self.sampler.is_joint:
            found = self.sampler.take(step=step, reporter=self.reporter)
        else:
            found = by_first(lambda: self.sampler.take(step=step, reporter=self.reporter))
        if found is not None:
            self.progress.pay(SAMPLES)
            self.canaries.on_samples(*found, step=step, total=total)
        elif self.world.is_first:
            self.progress.owe(SAMPLES)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Commit the checkpoint once every rank has written its part, then delete older ones."""
        step, total = state.global_step, state.max_steps
        partial = checkpoints.partial_of(Path(args.output_dir), step)
        self._seconds_saved = self.progress.seconds
        self.progress.peak_memory_bytes = max(
            self.progress.peak_memory_bytes, peak_memory(self.world)
        )
        saved = saving.commit(
            partial, self._facts(step, total), first=self.world.is_first, add=self._add
        )
        if self.world.is_first:
            left = checkpoints.rotate(
                saved.parent,
                keep=self.training.keep_checkpoints,
                newest=saved,
                keep_best=self.training.eval_every is not None,
            )
            for text in left:
                self.reporter.notice(text, level="warning")
            self.reporter.event("checkpoint", step=step, path=saved.name)
        barrier()

    def _add(self, partial: Path) -> None:
        """What only the first process knows of the training."""
        self.progress.save(partial)
        self.canaries.save(partial)

    def _facts(self, step: int, total: int) -> checkpoints.Facts:
        place = self.order.place(step)
        evaluated = self._held_out is not None and self._held_out[0] == step
        return checkpoints.Facts(
            work=self.work,
            step=step,
            total=total,
            epoch=place.epoch,
            taken=place.taken,
            held_out_loss=self._held_out[1] if self._held_out and evaluated else None,
        )

    def _meet_fault(self, model: Any, *, step: int) -> None:
        action = faults.meet("step", step)
        if action == "nan":
            weights.spoil(model)
        elif action == "oom":
            memory.break_next_pass()

    def _look_for_spike(self, loss: float, *, step: int) -> None:
        """A notice for a loss that stands out, with the place of its step's examples."""
        limit = spikes.add(self.progress.recent_losses, loss)
        if limit is None:
            return
        self.progress.spikes += 1
        if self.progress.spikes > spikes.MOST_TOLD or not self.world.is_first:
            return
        record = self.keep_batch(step, loss) if self.keep_batch is not None else None
        self.reporter.notice(
            f"step {step}: the loss {loss:.4g} stands out of the steps before it, where up to "
            f"{limit:.4g} would be usual{f'; its examples are in {record}' if record else ''}",
            level="warning",
        )

    def _is_end_cheap(self, step: int, *, device: torch.device) -> bool:
        """Whether the checkpoint after the last step is left out: the model follows at once, and
        the steps since the last checkpoint are quickly done again. All ranks answer alike."""
        is_dear = self.progress.seconds - self._seconds_saved >= CHEAP_SECONDS
        return not any_rank(is_dear or step % self.training.save_every == 0, device=device)

    def _is_sample_due(self, step: int, *, total: int) -> bool:
        every = self.training.sample_every or self.training.eval_every
        return step == total or (every is not None and step % every == 0)

    def _record(self, step: int, *, total: int) -> None:
        values = self.progress.drain_window()
        seconds = values.pop("step_seconds")
        values["tokens_per_second"] = values.pop("step_tokens") / max(seconds, 1e-9)
        values["num_tokens"] = self.progress.tokens
        values["epoch"] = self.order.epochs(step)
        self.reporter.metrics(step=step, total=total, values=values)
        self.canaries.on_record(values, step=step, total=total)


def peak_memory(world: World) -> int:
    """Largest memory use of this process so far, in bytes: the GPU's, or the resident set."""
    if world.device == "cuda":
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
