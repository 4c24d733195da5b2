"""One process whose loss is infinite while its gradients are finite, as only a real overflow at one
example would make it.

`install` is called in a forked rank before its stage starts; ZEPHYRCTL_TEST_INFINITE says on which
rank, and from which optimizer step on.
"""

import math
import os
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

import zephyrctl.training.dpo_trainer
import zephyrctl.training.sft
from zephyrctl.training.trainer import seen_by_all

WHERE = "ZEPHYRCTL_TEST_INFINITE"


def install() -> None:
    """Add infinity to this rank's loss before the trainers' guard sees it."""
    rank, _, begins = os.environ[WHERE].partition(":")
    if rank != os.environ["RANK"]:
        return
    done = {"steps": 0}

    def stepped(*_: Any) -> None:
        done["steps"] += 1

    register_optimizer_step_post_hook(stepped)

    def broken(loss: torch.Tensor) -> torch.Tensor:
        return seen_by_all(loss + math.inf if done["steps"] >= int(begins) else loss)

    for module in (zephyrctl.training.sft, zephyrctl.training.dpo_trainer):
        module.seen_by_all = broken
