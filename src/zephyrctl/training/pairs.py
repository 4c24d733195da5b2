"""What do the log-probs of preference pairs say?

A held-out pair is a row of `(N, 7)` numbers: the six of `Pairs`, and the loss of its batch.
"""

import math
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from zephyrctl.config.schema.training import Dpo
from zephyrctl.errors import JobFailed, TrainingDiverged

START_TOLERANCE = 1e-4
START_TOLERANCE_BF16 = 2e-2
"""bfloat16 sums of log-probs depend on how a batch is padded; that of the reference was another."""


@dataclass(frozen=True)
class Pairs:
    """Log-probs of B pairs, each `(B,)`: sums over the tokens of a completion."""

    chosen: Tensor
    rejected: Tensor
    ref_chosen: Tensor
    ref_rejected: Tensor
    chosen_tokens: Tensor
    rejected_tokens: Tensor

    @classmethod
    def of_table(cls, table: Any) -> Self:
        """From rows `(N, >= 6)`, as `table` makes them."""
        columns = torch.as_tensor(np.asarray(table), dtype=torch.float64).unbind(dim=1)
        return cls(*columns[: len(fields(cls))])

    def table(self) -> Tensor:
        """Rows `(B, 6)` in float64, without a gradient."""
        columns = [getattr(self, field.name) for field in fields(self)]
        return torch.stack([column.detach().double() for column in columns], dim=1)


def completion_sums(log_probs: Tensor, mask: Tensor, *, ld_alpha: float | None) -> Tensor:
    """Summed log-probs of 2B completions, all chosen first, `(2B,)`.

    `log_probs` and `mask` are `(2B, T)`, 1 where a token belongs to the completion; a log-prob
    elsewhere is 0. With `ld_alpha` the tokens by which one completion of a pair is longer than the
    other count by that factor (LD-DPO, Liu et al. 2024, arXiv 2409.06411).
    """
    if ld_alpha is None:
        return log_probs.sum(dim=1)
    shorter = torch.minimum(*mask.sum(dim=1).chunk(2)).repeat(2)  # (2B,)
    beyond = mask.cumsum(dim=1) > shorter[:, None]
    return torch.where(beyond, ld_alpha * log_probs, log_probs).sum(dim=1)


def pair_metrics(pairs: Pairs, *, beta: float) -> dict[str, float]:
    """Metrics of N pairs. A reward is beta times the log-ratio (Rafailov et al. 2023, §5)."""
    return reward_metrics(
        beta * (pairs.chosen - pairs.ref_chosen),
        beta * (pairs.rejected - pairs.ref_rejected),
        pairs=pairs,
    )


def reward_metrics(
    chosen_rewards: Tensor, rejected_rewards: Tensor, *, pairs: Pairs
) -> dict[str, float]:
    """Means over N pairs by TRL's names, from the rewards of both completions, each `(N,)`."""
    return {
        "rewards/chosen": float(chosen_rewards.mean()),
        "rewards/rejected": float(rejected_rewards.mean()),
        "rewards/accuracies": float((chosen_rewards > rejected_rewards).double().mean()),
        "rewards/margins": float((chosen_rewards - rejected_rewards).mean()),
        "logps/chosen": float(pairs.chosen.mean()),
        "logps/rejected": float(pairs.rejected.mean()),
        "pairs": float(len(pairs.chosen)),
    }


def loss_at_start(settings: Dpo) -> float | None:
    """The loss where policy and reference agree, or None where it depends on more than that.

    Every log-ratio is then 0, and so is every score of TRL's f-divergences.
    """
    if settings.trainer_args.get("use_weighting"):
        return None
    beta, smoothing = settings.beta, settings.label_smoothing
    known = {
        **dict.fromkeys(("sigmoid", "sigmoid_norm", "robust", "aot", "aot_unpaired"), math.log(2)),
        **dict.fromkeys(("nca_pair", "bco_pair"), 2 * math.log(2)),
        **dict.fromkeys(("hinge", "apo_zero", "apo_down"), 1.0),
        "ipo": 1 / (4 * beta**2),
        "sppo_hard": 1 / (2 * beta**2),
        "discopop": (math.log(2) + 1) / 2,
    }
    if smoothing:
        known["exo_pair"] = -math.log(2) - (math.log1p(-smoothing) + math.log(smoothing)) / 2
    losses = settings.losses
    if not set(losses) <= known.keys():
        return None
    weights = settings.loss_weights or [1.0] * len(losses)
    return sum(weight * known[name] for name, weight in zip(losses, weights, strict=True))


def check_start(expected: float | None, *, loss: float, margin: float, tolerance: float) -> None:
    """JobFailed unless policy and reference agree: margin 0, and the loss as expected (None: any);
    TrainingDiverged where the loss is not finite.

    The tolerance of the loss is relative where the loss is above 1.
    """
    if not math.isfinite(loss):
        raise TrainingDiverged(
            f"before the first step the loss is {loss}: the starting weights are not finite",
            where="dpo.init_from",
            hint="zephyrctl eval rules MODEL shows what they answer; train that model again",
        )
    far = expected is not None and abs(loss - expected) > tolerance * max(1.0, expected)
    if far or not abs(margin) <= tolerance:
        raise JobFailed(
            f"before the first step the loss is {loss:.6f} and the reward margin {margin:.6f}"
            f"{f' instead of {expected:.6f} and 0' if expected is not None else ' instead of 0'}: "
            "policy and reference are not the same model",
            where="dpo.init_from",
            hint="ZEPHYRCTL_CACHE=/an/empty/folder in front of the command computes the "
            "reference again",
        )
