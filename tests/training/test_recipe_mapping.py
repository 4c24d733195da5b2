"""Every packaged recipe as TRL's own classes take it, on 1, 4 and 8 GPUs."""

from pathlib import Path
from typing import Any

import pytest
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.sft_config import SFTConfig

from zephyrctl.config.layers import load
from zephyrctl.config.recipes import packaged
from zephyrctl.config.schema import Recipe
from zephyrctl.training import micro_batches, order
from zephyrctl.training.micro_batches import Costs
from zephyrctl.training.processes import World
from zephyrctl.training.trl_arguments import OPTIMIZERS, Job, dpo_arguments, sft_arguments

NAMES = [item.name for item in packaged()]
ROWS = 1000


@pytest.mark.parametrize("gpus", [1, 4, 8])
@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_is_mapped_to_the_installed_classes(
    tmp_path: Path, name: str, gpus: int
) -> None:
    recipe = load(recipe=name, env={}).recipe
    for stage, target in (("sft", SFTConfig), ("dpo", DPOConfig)):
        training = getattr(recipe, stage)
        if training.global_batch_size % gpus:
            continue
        mapped = target(**(arguments(recipe, stage, tmp_path, gpus=gpus) | on_this_machine()))
        assert mapped.learning_rate == training.learning_rate
        assert mapped.lr_scheduler_type == training.lr_scheduler
        assert mapped.warmup_steps == training.warmup_ratio
        assert mapped.max_length == training.max_length
        assert mapped.weight_decay == training.weight_decay
        assert mapped.max_grad_norm == training.max_grad_norm
        assert mapped.seed == recipe.seed
        assert mapped.optim == OPTIMIZERS[training.optimizer]
        assert mapped.max_steps == order.total_steps(training, examples=ROWS)
    assert mapped.beta == recipe.dpo.beta
    assert mapped.loss_type in (["sigmoid"], [recipe.dpo.loss])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_every_step_takes_the_global_batch_on_any_number_of_gpus(name: str, stage: str) -> None:
    training = getattr(load(recipe=name, env={}).recipe, stage)
    lengths = [10 + n % 50 for n in range(ROWS)]
    planned = order.plan(training, lengths=lengths, seed=1)
    for gpus in (1, 4, 8):
        if training.global_batch_size % gpus:
            continue
        taken = [
            index
            for rank in range(gpus)
            for batch in passes(training, planned, lengths, gpus=gpus, rank=rank).batches
            for index in batch
        ]
        assert sorted(taken) == sorted(planned.indices)
        assert len(taken) == planned.steps * training.global_batch_size


def passes(training: Any, planned: Any, lengths: list[int], *, gpus: int, rank: int) -> Any:
    costs = Costs(lengths, padded=False)
    return micro_batches.plan(training, planned, costs, world_size=gpus, rank=rank)


def arguments(recipe: Recipe, stage: str, folder: Path, *, gpus: int) -> dict[str, Any]:
    training = getattr(recipe, stage)
    lengths = [training.max_length // 2] * ROWS
    planned = order.plan(training, lengths=lengths, seed=recipe.seed)
    job = Job(
        passes=passes(training, planned, lengths, gpus=gpus, rank=0),
        eval_batch_size=1,
        steps=planned.steps,
        world=World(0, gpus, "cuda", bf16=True),
        folder=folder,
        has_test=True,
        resumes=False,
    )
    if stage == "sft":
        return sft_arguments(recipe, job)
    return dpo_arguments(recipe, job, precompute=True)


def on_this_machine() -> dict[str, Any]:
    """The classes look for the GPU when they are made; there is none here."""
    return {"use_cpu": True, "bf16": False, "dataloader_pin_memory": False}
