"""What do both trainers do otherwise than TRL's?

One mixin over TRL 1.16's trainers. Each override says why it is there; the loss and the optimizer
step are untouched.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
from torch import nn
from torch.utils.data import Sampler
from transformers import Trainer

from zephyrctl.errors import DataError, TrainingDiverged
from zephyrctl.runs.atomic import disk_full_is_an_error, write_json
from zephyrctl.training import optimizers
from zephyrctl.training.order import FixedOrder, Order

WEIGHTS = "trained.safetensors"

_Base = Trainer if TYPE_CHECKING else object


class HouseTrainer(_Base):
    """Fixed order, small checkpoints, a guard before each update; no telemetry, no model card."""

    order: Order
    optimizer_name: str = "auto"
    """The recipe's; those that transformers does not know are built by `optimizers`."""
    diverged_folder: Path
    held_out: Any = None
    """Per-row results of the last evaluation, `(N, K)` float64, in the order of the split."""
    _metrics: Any
    model: Any

    def _send_telemetry(self) -> None:
        """TRL 1.16 reports model type, hardware and scale to the Hub from here."""

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """TRL 1.16 writes a card beside each checkpoint; ours is made at publishing."""

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        """transformers 5.23 would shuffle by its own generator, for one epoch at a time."""
        del train_dataset
        return FixedOrder(self.order.indices)

    def create_optimizer(self, model: Any = None) -> Any:
        """transformers 5.23 knows neither of the optimizers that keep bfloat16 weights. It makes
        the parameter groups either way: no weight decay on norms and biases."""
        optimizers.check_weights(self.model, self.optimizer_name)
        own = optimizers.build(self.optimizer_name, self.args, device=self.args.device.type)
        if own is not None:
            self.optimizer_cls_and_kwargs = own
        return super().create_optimizer(model)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Write only what is trained. transformers would write frozen weights, the tokenizer and a
        pickle of all arguments, and of several adapters only the first survives its resume."""
        del state_dict
        assert output_dir is not None, "checkpoints have a folder"
        if not self.args.should_save:
            return
        weights = trained_weights(self.model)
        bad = [name for name, weight in weights.items() if not torch.isfinite(weight).all()]
        if bad:
            raise TrainingDiverged(
                f"weights are not finite at step {self.state.global_step}: {bad[0]}"
                f"{f' and {len(bad) - 1} more' if len(bad) > 1 else ''}",
                where=output_dir,
                hint="a lower learning_rate; the last good checkpoint is kept",
            )
        path = Path(output_dir) / WEIGHTS
        with disk_full_is_an_error(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            safetensors.torch.save_file(weights, path)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """The counterpart of `_save`; every trained weight must be there."""
        path = Path(resume_from_checkpoint) / WEIGHTS
        saved = safetensors.torch.load_file(path)
        wanted = {n: w for n, w in (model or self.model).named_parameters() if w.requires_grad}
        if {n: w.shape for n, w in saved.items()} != {n: w.shape for n, w in wanted.items()}:
            raise DataError("the checkpoint holds other weights than are trained", where=str(path))
        with torch.no_grad():
            for name, weight in wanted.items():
                weight.copy_(saved[name])

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        """Remember the micro-batch, so that one which breaks training can be looked at."""
        self._last_inputs = inputs
        loss = super().training_step(model, inputs, num_items_in_batch)
        self._loss_is_finite = torch.isfinite(loss)
        return loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """Stop before the update where loss or gradient is not finite. transformers 5.23 goes on to
        the end and saves NaN. The norm is taken after the all-reduce, so all ranks agree."""
        norm: Any = super()._get_grad_norm(model, grad_norm)
        loss_is_finite = bool(self._loss_is_finite)
        if not (math.isfinite(float(norm)) and loss_is_finite):
            step = self.state.global_step + 1
            path = self._save_batch(step)
            raise TrainingDiverged(
                f"the {'gradient' if loss_is_finite else 'loss'} is not finite at step {step}",
                where=str(path),
                hint="a lower learning_rate or a smaller max_grad_norm; look at the batch named "
                "above for broken rows",
            )
        return norm

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Let the exact held-out metrics stand: TRL 1.16 averages them over batches, so a short
        last batch counts as much as a full one, and several processes count some rows twice."""
        if "eval_exact_loss" in logs:
            logs["eval_loss"] = logs.pop("eval_exact_loss")
        for key in list(logs):
            self._metrics["eval"].pop(key.removeprefix("eval_"), None)
        super().log(logs, start_time)

    def _save_batch(self, step: int) -> Path:
        path = self.diverged_folder / f"diverged-rank{self.args.process_index}.json"
        ids = self._last_inputs["input_ids"].tolist()
        write_json(path, {"step": step, "input_ids": ids})
        return path


class Recorder:
    """Calls a model and keeps its outputs, for losses that TRL computes but does not return."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.outputs: list[Any] = []

    def __call__(self, **inputs: Any) -> Any:
        self.outputs.append(self.model(**inputs))
        return self.outputs[-1]


def trained_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Weights that are trained, on the CPU, by name; tied ones once."""
    return {
        name: weight.detach().cpu().contiguous()
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }
