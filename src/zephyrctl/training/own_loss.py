"""How is a policy trained with a loss that TRL 1.16 lacks?

The forward pass, the log-probs, the reference and all metrics but the rewards are those of
`dpo_trainer.DpoTrainer`; the loss is a function of `losses`.
"""

from typing import Any

import torch

from zephyrctl import catalogue
from zephyrctl.config.schema import Recipe
from zephyrctl.config.schema.training import Dpo
from zephyrctl.runs.manifest import Result
from zephyrctl.runs.store import Run
from zephyrctl.training import dpo, session
from zephyrctl.training.dpo_trainer import DpoTrainer
from zephyrctl.training.losses import Scored
from zephyrctl.training.method import Losses
from zephyrctl.training.pairs import Pairs, reward_metrics


def train(recipe: Recipe, run: Run) -> Result:
    """Train on this run's preference pairs and publish the model."""
    return session.train(recipe, run, stage="dpo", make=Method)


class OwnLossTrainer(DpoTrainer):
    """DpoTrainer with a loss of our own in the place of TRL's."""

    def _score(self, model: Any, inputs: Any) -> tuple[torch.Tensor, Any, Pairs]:
        """TRL's own loss is dropped. A mixture of experts goes on balancing its load."""
        _, outputs, pairs = super()._score(model, inputs)
        scored = score(pairs, self.settings)
        loss = scored.losses.mean().float()
        if self.aux_loss_enabled:
            loss = loss + self.router_aux_loss_coef * outputs.aux_loss
        self._record(scored)
        return loss, outputs, pairs

    def metrics_of(self, pairs: Pairs) -> dict[str, float]:
        """Rewards by this loss, and log-probs, by TRL's names."""
        scored = score(pairs, self.settings)
        return reward_metrics(scored.chosen_rewards, scored.rejected_rewards, pairs=pairs)

    def _record(self, scored: Scored) -> None:
        """Put the rewards of this loss in the place of those that TRL has just recorded."""
        both = torch.stack((scored.chosen_rewards, scored.rejected_rewards), dim=1).detach()
        every: Any = self.accelerator.gather(both)
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
    """What is particular to these losses; see `method.Method`."""

    trainer_class = OwnLossTrainer

    def _losses(self, pairs: Pairs) -> Losses:
        name = catalogue.OWN_LOSSES.get(self.training.losses[0]).name
        return {
            f"{name} loss": float(score(pairs, self.training).losses.mean()),
            **dpo.losses_per_token(pairs),
        }


def score(pairs: Pairs, settings: Dpo) -> Scored:
    """The losses and rewards of pairs by the loss that the settings name."""
    return catalogue.OWN_LOSSES.load(settings.losses[0])(pairs, settings)
