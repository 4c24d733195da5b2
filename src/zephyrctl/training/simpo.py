"""How is a policy trained on preference pairs without a reference? (SimPO, arXiv 2405.14734)

The forward pass, the log-probs and all metrics but the rewards are those of TRL 1.16's DPOTrainer;
the loss is `losses.simpo`.
"""

from typing import Any

import numpy as np
import torch
from datasets import Dataset

from zephyrctl.config.schema import Recipe
from zephyrctl.runs.manifest import Result
from zephyrctl.runs.store import Run
from zephyrctl.training import dpo, losses, session
from zephyrctl.training.session import Losses, Plan, Splits
from zephyrctl.training.trainer import Recorder
from zephyrctl.training.trl_arguments import dpo_arguments


def train(recipe: Recipe, run: Run) -> Result:
    """Train on this run's preference pairs and publish the model."""
    return session.train(recipe, run, method=Method(recipe))


class SimpoTrainer(dpo.PairTrainer):
    """DPOTrainer with the loss of SimPO; no reference is loaded and none is asked."""

    def __init__(self, *, gamma_ratio: float, **kwargs: Any) -> None:
        self.gamma_ratio = gamma_ratio
        super().__init__(**kwargs)

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        """TRL 1.16 would load a reference model if it were not told that log-probs are precomputed;
        there are none."""
        del name, batch_size
        return dataset

    def _compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False) -> Any:
        """TRL 1.16 has no such loss. Never asked for outputs: `prediction_step` is ours too."""
        del return_outputs
        return self._score(model, inputs)[0]

    def prediction_step(
        self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[Any, Any, Any]:
        """Also return each pair's summed log-probs and tokens, which `exact_metrics` reads."""
        del prediction_loss_only, ignore_keys
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            loss, pairs = self._score(model, inputs)
        return loss.detach(), pairs, pairs.new_zeros(len(pairs))

    def exact_metrics(self, prediction: Any) -> dict[str, float]:
        """Means over all held-out pairs, by TRL's names."""
        self.held_out = np.asarray(prediction.predictions, dtype=np.float64)
        return pair_metrics(self.held_out, beta=self.beta)

    def _score(self, model: Any, inputs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean loss of a batch, and its pairs `(B, 4)`: log-probs chosen and rejected, tokens
        chosen and rejected. TRL's own loss, against a reference of zeros, is dropped."""
        completion = inputs["completion_mask"]  # (2B, T): all chosen, then all rejected
        tokens = completion.sum(dim=1).chunk(2)
        nothing = torch.zeros(len(tokens[0]), device=completion.device)
        recording = Recorder(model)
        without = {"ref_chosen_logps": nothing, "ref_rejected_logps": nothing}
        super()._compute_loss(recording, dict(inputs) | without, False)
        outputs = recording.outputs[0]
        sums = outputs.log_probs.float().sum(dim=1).chunk(2)
        each, chosen, rejected = losses.simpo(
            *sums, *tokens, beta=self.beta, gamma_ratio=self.gamma_ratio
        )
        loss = each.mean()
        if self.aux_loss_enabled:  # a mixture of experts balances its load
            loss = loss + self.router_aux_loss_coef * outputs.aux_loss
        self._record(chosen.detach(), rejected.detach())
        return loss, torch.stack((*sums, *tokens), dim=1).detach().double()

    def _record(self, chosen: torch.Tensor, rejected: torch.Tensor) -> None:
        """Put SimPO's rewards, each `(B,)`, in the place of those that TRL has just recorded."""
        every: Any = self.accelerator.gather(torch.stack((chosen, rejected), dim=1))
        chosen, rejected = every.unbind(dim=1)
        recorded = self._metrics["train" if self.model.training else "eval"]
        for name, values in {
            "rewards/chosen": chosen,
            "rewards/rejected": rejected,
            "rewards/accuracies": (chosen > rejected).float(),
            "rewards/margins": chosen - rejected,
        }.items():
            recorded[name][-1] = values.mean().item()


class Method(dpo.Method):
    """What is particular to SimPO; see `session.Method`."""

    def trainer(self, plan: Plan) -> SimpoTrainer:
        """The trainer over the prepared splits."""
        arguments = dpo_arguments(self.recipe, plan.job, precompute=True)
        ratio = self.training.simpo_gamma_ratio
        return self._build(SimpoTrainer, plan, arguments, gamma_ratio=ratio)

    def before(self, trainer: Any, plan: Plan) -> None:
        """Nothing: without a reference there is none to agree with."""

    def _losses(self, log_probs: Any, splits: Splits, rows: list[int]) -> Losses:
        """SimPO loss and chosen loss per token of pairs `(N, 4)`, as the trainer returns them."""
        del splits, rows
        pairs = torch.as_tensor(log_probs, dtype=torch.float64)
        beta, ratio = self.training.beta, self.training.simpo_gamma_ratio
        each, *_ = losses.simpo(*pairs.unbind(dim=1), beta=beta, gamma_ratio=ratio)
        chosen, _, tokens, _ = pairs.sum(dim=0)
        return {"SimPO loss": float(each.mean()), "chosen loss per token": float(-chosen / tokens)}


def pair_metrics(pairs: Any, *, beta: float) -> dict[str, float]:
    """Metrics of pairs `(N, 4)`: summed log-probs chosen and rejected, tokens chosen and rejected.
    A reward is beta times the mean log-prob of a token (`losses.simpo`)."""
    chosen, rejected, chosen_tokens, rejected_tokens = np.asarray(pairs).T
    return dpo.reward_metrics(
        beta * chosen / chosen_tokens.clip(min=1),
        beta * rejected / rejected_tokens.clip(min=1),
        log_probs=(chosen, rejected),
    )
