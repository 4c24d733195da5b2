"""A recipe's settings as TRL's."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.sft_config import SFTConfig

from zephyrctl.config.schema import Recipe
from zephyrctl.config.trainer_args import OWNED, REFUSED
from zephyrctl.errors import ConfigError
from zephyrctl.training.micro_batches import MicroBatches
from zephyrctl.training.processes import World
from zephyrctl.training.trl_arguments import (
    OVERRIDABLE,
    Job,
    dpo_arguments,
    sft_arguments,
)

CPU = World(0, 1, "cpu", bf16=False)
GPU = World(0, 8, "cuda", bf16=True)


def job(tmp_path: Path, *, world: World = CPU, resumes: bool = False) -> Job:
    passes = MicroBatches([], per_step=2, largest=4, most_tokens=64)
    return Job(passes, 4, 100, world, tmp_path, has_test=True, resumes=resumes)


def sft(**settings: Any) -> Recipe:
    return Recipe.model_validate({"sft": settings})


@pytest.mark.parametrize("world", [CPU, GPU])
def test_every_emitted_key_is_a_field_and_belongs_to_somebody(tmp_path: Path, world: World) -> None:
    recipe = Recipe.model_validate({"sft": {"lr_scheduler": "cosine_with_min_lr"}})
    emitted = {
        "sft": sft_arguments(recipe, job(tmp_path, world=world)),
        "dpo": dpo_arguments(recipe, job(tmp_path, world=world), precompute=True),
    }
    for stage, config in (("sft", SFTConfig), ("dpo", DPOConfig)):
        known = {field.name for field in fields(config)}
        owned = OWNED[stage].keys() | REFUSED.keys() | OVERRIDABLE
        assert set(emitted[stage]) <= known
        assert set(emitted[stage]) <= owned


def test_the_emitted_arguments_build_the_installed_classes(tmp_path: Path) -> None:
    recipe = Recipe.model_validate({"sft": {"warmup_ratio": 0.1}, "dpo": {"loss": ["ipo", "sft"]}})
    first = SFTConfig(**sft_arguments(recipe, job(tmp_path)))
    assert first.get_warmup_steps(100) == 10
    assert (first.bf16, first.use_cpu, first.gradient_checkpointing) == (False, True, False)
    assert first.logging_nan_inf_filter is False
    assert first.report_to == []
    second = DPOConfig(**dpo_arguments(recipe, job(tmp_path), precompute=True))
    assert second.loss_type == ["ipo", "sft"]
    assert second.precompute_ref_log_probs


@pytest.mark.parametrize("loss", ["simpo", ["simpo"]])
def test_simpo_maps_to_a_loss_that_trl_knows_and_to_no_reference(tmp_path: Path, loss: Any) -> None:
    recipe = Recipe.model_validate({"dpo": {"loss": loss, "beta": 2.0}})
    found = DPOConfig(**dpo_arguments(recipe, job(tmp_path), precompute=True))
    assert (found.loss_type, found.loss_weights, found.beta) == (["sigmoid"], None, 2.0)
    assert found.precompute_ref_log_probs  # or TRL would load a reference model
    assert found.eval_on_start


def test_a_gpu_computes_in_bfloat16_and_recomputes_activations(tmp_path: Path) -> None:
    found = sft_arguments(sft(), job(tmp_path, world=GPU))
    assert (found["bf16"], found["use_cpu"], found["gradient_checkpointing"]) == (True, False, True)


def test_warm_up_over_all_steps_is_a_count(tmp_path: Path) -> None:
    # transformers reads 1.0 as one step, not as the whole training
    assert sft_arguments(sft(warmup_ratio=1.0), job(tmp_path))["warmup_steps"] == 100


def test_a_resumed_stage_does_not_evaluate_its_start_again(tmp_path: Path) -> None:
    assert sft_arguments(sft(), job(tmp_path))["eval_on_start"]
    assert not sft_arguments(sft(), job(tmp_path, resumes=True))["eval_on_start"]


@pytest.mark.parametrize(
    ("packing", "emitted", "strategy"),
    [("none", False, "bfd"), ("bfd", True, "bfd"), ("wrapped", True, "wrapped")],
)
def test_packing(tmp_path: Path, packing: str, emitted: bool, strategy: str) -> None:
    found = sft_arguments(sft(packing=packing), job(tmp_path))
    assert (found["packing"], found["packing_strategy"]) == (emitted, strategy)


def test_trainer_args_reach_the_trainer(tmp_path: Path) -> None:
    recipe = sft(trainer_args={"adam_beta2": 0.95})
    assert SFTConfig(**sft_arguments(recipe, job(tmp_path))).adam_beta2 == 0.95


def test_trainer_args_that_cannot_be_passed_are_all_named(tmp_path: Path) -> None:
    recipe = sft(trainer_args={"adam_beta": 0.9, "learning_rate": 1.0, "logging_steps": 5})
    with pytest.raises(ConfigError) as caught:
        sft_arguments(recipe, job(tmp_path))
    messages = [problem.message for problem in caught.value.problems]
    assert len(messages) == 3
    assert "did you mean 'adam_beta" in messages[0]
    assert "'learning_rate' is decided by the program" in messages[1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": ["ipo", "sft"], "loss_weights": [1.0]}, "1 loss_weights for 2 losses"),
        ({"loss": "exo_pair"}, "label_smoothing above 0"),
        ({"loss": ["simpo", "sft"]}, "cannot be summed with others"),
    ],
)
def test_losses_that_trl_would_refuse_late(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    recipe = Recipe.model_validate({"dpo": settings})
    with pytest.raises(ConfigError, match=message):
        dpo_arguments(recipe, job(tmp_path), precompute=True)
