"""A tiny model and a few pairs of token ids, with trainers over them that no stage has built."""

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import LlamaConfig, LlamaForCausalLM
from trl.trainer.dpo_config import DPOConfig

from zephyrctl import catalogue
from zephyrctl.config.schema import Recipe
from zephyrctl.training import reference
from zephyrctl.training.dpo_trainer import DpoTrainer
from zephyrctl.training.loading import Policy
from zephyrctl.training.micro_batches import MicroBatches
from zephyrctl.training.own_loss import OwnLossTrainer
from zephyrctl.training.processes import World
from zephyrctl.training.starting_point import Start
from zephyrctl.training.trl_arguments import Job, dpo_arguments

VOCABULARY = 48
LENGTHS = [(5, 7, 3), (2, 1, 6), (9, 4, 4), (1, 8, 2)]
"""Tokens of prompt, chosen and rejected completion."""


def tiny_model(seed: int = 0) -> Any:
    """A Llama of two layers, whose random weights are large enough to prefer something."""
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, initializer_range=0.3,
        )
    )  # fmt: skip
    return model.eval()


def pairs(lengths: list[tuple[int, int, int]] = LENGTHS, *, seed: int = 0) -> Dataset:
    """Pairs of random ids."""
    rng = torch.Generator().manual_seed(seed)
    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    return Dataset.from_list(
        [
            {
                name: torch.randint(3, VOCABULARY, (length,), generator=rng).tolist()
                for name, length in zip(names, sizes, strict=True)
            }
            for sizes in lengths
        ]
    )


def policy_of(model: Any) -> Policy:
    """The model as a policy all of whose weights are trained."""
    start = Start("tiny", Path("tiny"), "0" * 64)
    total = sum(weight.numel() for weight in model.parameters())
    return Policy(model=model, peft=None, form="weights", start=start, trained=total, total=total)


def trainer_of(
    folder: Path, tokenizer: Any, *, model: Any, other: Any = None, **settings: Any
) -> DpoTrainer:
    """The trainer that `settings` of the section `dpo` ask for, with `other` as its reference."""
    recipe = Recipe.model_validate({"dpo": settings})
    job = Job(
        passes=MicroBatches([[0, 1, 2, 3]], per_step=1, largest=4, most_tokens=100),
        eval_batch_size=4,
        steps=1,
        world=World(0, 1, "cpu", bf16=False),
        folder=folder,
        has_test=False,
        resumes=False,
    )
    is_own = recipe.dpo.losses[0] in catalogue.OWN_LOSSES
    return (OwnLossTrainer if is_own else DpoTrainer)(
        settings=recipe.dpo,
        policy=policy_of(model),
        kind=reference.kind(recipe.dpo),
        model=model,
        ref_model=other,
        args=DPOConfig(**dpo_arguments(recipe, job, precompute=True)),
        train_dataset=pairs(),
        processing_class=tokenizer,
    )
