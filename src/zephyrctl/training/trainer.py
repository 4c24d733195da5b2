"""What do both trainers do otherwise than TRL's?

One mixin over TRL 1.16's trainers. Each override says why it is there; the loss and the optimizer
step are untouched.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from zephyrctl.errors import TrainingDiverged
from zephyrctl.runs.atomic import write_json
from zephyrctl.training import memory, optimizers, sharding
from zephyrctl.training.diverged import sequences
from zephyrctl.training.memory import Room
from zephyrctl.training.micro_batches import ListedBatches, MicroBatches
from zephyrctl.training.processes import gather
from zephyrctl.training.saving import Saving, random_states, restore_random_states, together
from zephyrctl.training.stops import EvaluationStopped, Stops


class HouseTrainer(Saving):
    """Fixed order, small checkpoints, a guard before each update; no telemetry, no model card."""

    passes: MicroBatches
    optimizer_name: str = "auto"
    """The recipe's; those that transformers does not know are built by `optimizers`."""
    rows_per_example: int = 1
    """Sequences of an example in a batch: a pair has two."""
    gradients_wait: bool = False
    """Of a model that is shared out: sum gradients over the processes once per step only."""
    diverged_folder: Path
    room: Room | None = None
    """Where a pass that does not fit is noted; None outside of a stage."""
    stops: Stops | None = None
    """Answers requests to stop; None outside of a stage."""
    held_out: Any = None
    """Per-row results of the last evaluation, `(N, K)` float64, in the order of the split."""
    _metrics: Any
    _total_train_tokens: Any
    _steps_begun: int = 0
    _passes_of_step: Sequence[tuple[int, Any, torch.Tensor]] = ()
    """Steps done, inputs, and whether the loss was finite, of each pass of the step under way."""

    def _send_telemetry(self) -> None:
        """TRL 1.16 reports model type, hardware and scale to the Hub from here."""

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """TRL 1.16 writes a card beside each checkpoint; ours is made at publishing."""

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The planned passes of this process. transformers 5.23 would shuffle by its own generator,
        for one epoch at a time, and accelerate would share out passes of equal size only."""
        given: Any = self.train_dataset
        rows: Any = self._remove_unused_columns(given, description="training")
        return DataLoader(
            rows,
            batch_sampler=ListedBatches(self.passes.batches),
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def create_optimizer(self, model: Any = None) -> Any:
        """transformers 5.23 knows neither of the optimizers that keep bfloat16 weights. It makes
        the parameter groups either way: no weight decay on norms and biases."""
        optimizers.check_weights(self.model, self.optimizer_name)
        own = optimizers.build(self.optimizer_name, self.args, device=self.args.device.type)
        if own is not None:
            self.optimizer_cls_and_kwargs = own
        return super().create_optimizer(model)

    def _defer_fsdp_gradient_reduction(self) -> Any:
        """What transformers 5.23 enters for each pass of a step but the last; it asks the model for
        a configuration that ours does not have."""
        return sharding.gradients_wait(self.model) if self.gradients_wait else nullcontext()

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> Any:
        """Before the second step, when the optimizer's state is in memory, try the largest pass."""
        self._steps_begun += 1
        if self._steps_begun == 2 and self._rehearses:
            self._rehearse(self.passes.heaviest)
        return super().get_batch_samples(epoch_iterator, num_batches, device)

    @property
    def _rehearses(self) -> bool:
        """Only where memory that is too small is an error, and not the end of the process."""
        return self.args.device.type == "cuda"

    def rehearse_first_step(self) -> None:
        """Forward and backward of the largest pass of the step that comes next, before samples and
        evaluations take their time; TrainingDiverged where a process's loss is not finite.

        No gradient is summed over the processes: each hears of the others' errors by a word.
        """
        if self.state.global_step < self.state.max_steps:
            together(self._rehearse_first_step)

    def _rehearse_first_step(self) -> None:
        step = self.state.global_step
        self.current_gradient_accumulation_steps = self.passes.per_step
        loss = self._rehearse(step * self.passes.per_step)
        if not math.isfinite(loss):
            many = self.args.world_size > 1
            whose = f" on process {self.args.process_index}" if many else ""
            raise TrainingDiverged(
                f"the loss of step {step + 1}{whose} is {loss} before any update of this attempt",
                where=str(self.diverged_folder),
                hint="the weights that training starts from, or rows of that step, are broken",
            )

    def _rehearse(self, number: int) -> float:
        """Forward and backward of one of the planned passes, so that a memory too small for it
        shows at once; returns its loss. Gradients, metrics and random numbers stay as they were."""
        rows = [self.train_dataset[i] for i in self.passes.batches[number]]  # type: ignore[index]
        metrics = {name: list(values) for name, values in self._metrics["train"].items()}
        tokens, passes = self._total_train_tokens, self._passes_of_step
        draws = random_states()
        # Around the wrapper that sums gradients over the processes: it counts its passes.
        model: Any = self.model_wrapped if self.is_deepspeed_enabled else self.model
        with self.accelerator.no_sync(model):
            self._pass_begins(rows)
            loss = float(self.training_step(model, self.data_collator(rows)))
        restore_random_states(draws)
        model.zero_grad(set_to_none=True)
        self._metrics["train"].clear()
        self._metrics["train"].update(metrics)
        self._total_train_tokens, self._passes_of_step = tokens, passes
        return loss

    def _pass_begins(self, rows: list[Any]) -> None:
        """Prepare for a pass that belongs to no step."""

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        """Remember the passes of this step, so that one which breaks training can be looked at."""
        step = self.state.global_step
        before = [entry for entry in self._passes_of_step if entry[0] == step]
        with self._fits(f"step {step + 1}", inputs):
            memory.break_if_planned()
            loss = super().training_step(model, inputs, num_items_in_batch)
        self._passes_of_step = [*before, (step, inputs, torch.isfinite(loss))]
        return loss

    @contextmanager
    def _fits(self, doing: str, inputs: Any) -> Iterator[None]:
        """Name the pass where the memory is too small for this block."""
        try:
            yield
        except Exception as error:
            if self.room is None or not memory.is_shortage(error):
                raise
            examples = len(sequences(inputs)) // self.rows_per_example
            tokens = inputs.get("shared", inputs)["input_ids"].numel()
            raise self.room.error(doing, examples=max(1, examples), tokens=tokens) from error

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """Stop before the update where loss or gradient is not finite. transformers 5.23 goes on to
        the end and saves NaN. The norm is taken after the all-reduce, so all ranks agree."""
        norm: Any = sharding.whole(super()._get_grad_norm(model, grad_norm))
        if not math.isfinite(float(norm)):
            self._refuse_update()
        return norm

    def _refuse_update(self) -> None:
        """TrainingDiverged on every process, by the batches of those whose loss is not finite."""
        step = self.state.global_step + 1
        own = bool(torch.stack([finite for *_, finite in self._passes_of_step]).all())
        paths = gather(str(self._save_batch(step)))
        broken = [rank for rank, finite in enumerate(gather(own)) if not finite]
        what = "loss" if broken else "gradient"
        if broken and len(paths) > 1:
            what += f" of process {broken[0]}"
        raise TrainingDiverged(
            f"the {what} is not finite at step {step}",
            where=paths[broken[0] if broken else 0],
            hint="a lower learning_rate or a smaller max_grad_norm; look at the batch named "
            "above for broken rows",
        )

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """The held-out evaluation, unless a stop breaks it off: the next attempt then makes it."""
        fits = nullcontext()
        if self.room is not None:
            fits = self.room.needed_for(
                "the held-out evaluation",
                examples=self.args.per_device_eval_batch_size,
                tokens=self.passes.most_tokens,
            )
        try:
            with fits:
                return super().evaluate(*args, **kwargs)
        except EvaluationStopped:
            assert self.stops is not None, "it broke the evaluation off"
            self.stops.put_off_evaluation(self.state, self.control)
            return {}

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Let the exact held-out metrics stand: TRL 1.16 averages them over batches, so a short
        last batch counts as much as a full one, and several processes count some rows twice."""
        if "eval_exact_loss" in logs:
            logs["eval_loss"] = logs.pop("eval_exact_loss")
        for key in list(logs):
            self._metrics["eval"].pop(key.removeprefix("eval_"), None)
        super().log(logs, start_time)

    def _save_batch(self, step: int) -> Path:
        """The token sequences of the passes without a finite loss, or of the whole step."""
        path = self.diverged_folder / f"diverged-rank{self.args.process_index}.json"
        passes = [(inputs, bool(finite)) for _, inputs, finite in self._passes_of_step]
        broken = [inputs for inputs, finite in passes if not finite]
        chosen = broken or [inputs for inputs, _ in passes]
        found = [ids for inputs in chosen for ids in sequences(inputs)]
        write_json(path, {"step": step, "sequences": found})
        return path


def seen_by_all(loss: torch.Tensor) -> torch.Tensor:
    """The loss itself; where it is infinite or NaN, with NaN for every gradient.

    An infinite loss can have finite gradients, and only gradients are summed over the processes: so
    the others learn of it before the update, without a vote at every step.
    """
    value = loss.detach()
    return loss * (value - value + 1.0)  # times exactly 1, or NaN


class Recorder:
    """Calls a model and keeps its outputs, for losses that TRL computes but does not return."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.outputs: list[Any] = []

    def __call__(self, **inputs: Any) -> Any:
        self.outputs.append(self.model(**inputs))
        return self.outputs[-1]
