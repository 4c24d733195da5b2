"""How does a trained policy become a model folder that others can load?

The folder appears whole or not at all: it is written beside its place, loaded again as any reader
would, and scored on held-out rows against the model in memory, before it is renamed. A folder that
does not say the same as what was trained is never published.
"""

import gc
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from peft import PeftModel

from zephyrctl.config.schema import Recipe
from zephyrctl.config.schema.training import Training
from zephyrctl.data import template_lock
from zephyrctl.errors import JobFailed
from zephyrctl.generation.weights import read_weights
from zephyrctl.runs import faults
from zephyrctl.runs.atomic import make_readable, staged_directory
from zephyrctl.runs.signals import at_once, raise_if_stopping
from zephyrctl.runs.store import Run
from zephyrctl.training import sharding
from zephyrctl.training.loading import BELOW, TRAINED, Policy, load_policy, load_weights
from zephyrctl.training.processes import World, by_first

TOLERANCE = 0.01
"""Largest difference between a held-out loss in memory and after loading the published folder."""
_JOINED = "joined"
_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")

Losses = dict[str, float]


def publish(
    policy: Policy,
    tokenizer: Any,
    *,
    recipe: Recipe,
    run: Run,
    stage: Literal["sft", "dpo"],
    world: World,
    verify: Callable[[Any], None] | None,
) -> Path:
    """Write, check and rename the model folder of a stage; rank 0 only.

    `verify` gets the model as it was loaded again and raises where it is another one.
    """
    final = run.stage(stage).model
    in_bf16 = world.bf16 or policy.model.dtype == torch.bfloat16
    dtype = torch.bfloat16 if in_bf16 else torch.float32
    with staged_directory(final) as folder:
        raise_if_stopping()
        _write_weights(policy, folder, dtype=dtype)
        raise_if_stopping()
        _write_generation_config(policy, tokenizer, folder)
        template_lock.write(
            folder,
            tokenizer=tokenizer,
            template=recipe.model.chat_template,
            stage=stage,
            base=policy.start.label,
            base_digest=policy.start.digest,
            run=run.name,
        )
        make_readable(folder)
        if verify is not None:
            with at_once():
                again = _load_again(folder, policy, recipe=recipe, dtype=dtype, world=world)
            verify(again)
        faults.meet("publish", 0)
        raise_if_stopping()
    return final


def in_one_piece(
    recipe: Recipe, training: Training, policy: Policy, world: World, *, where: str
) -> Policy:
    """The policy as rank 0 can write it: of one that is shared out, a second one in its memory,
    loaded anew and given the trained weights one by one. Every rank must call it."""
    if not sharding.is_sharded(policy.model):
        return policy
    made: list[Policy] = []
    on_cpu = replace(world, device="cpu")
    by_first(lambda: made.append(load_policy(recipe, training, policy.start, on_cpu, where=where)))
    plain = made[0] if made else None
    sharding.fill_from(policy.model, plain.model if plain is not None else None)
    return plain or policy


def compare(in_memory: Losses, published: Losses, *, where: Path) -> None:
    """JobFailed where a loss of the published model is not that of the trained one."""
    for name, value in in_memory.items():
        difference = abs(published[name] - value)
        if not difference <= TOLERANCE:
            raise JobFailed(
                f"the published model is not the trained one: its held-out {name} is "
                f"{published[name]:.4f}, in memory it was {value:.4f}",
                where=str(where),
                hint="please report this; the checkpoints are kept",
            )


def _write_weights(policy: Policy, folder: Path, *, dtype: torch.dtype) -> None:
    model = policy.model
    model.config.use_cache = True
    if policy.form == "adapter":
        policy.peft.save_pretrained(folder, selected_adapters=[TRAINED])
    elif policy.form == "chain":
        _join_adapters(policy.peft, folder)
    else:
        dense = policy.peft.merge_and_unload() if policy.peft is not None else model
        for weight in dense.parameters():
            weight.data = weight.data.to(dtype)
        dense.config.dtype = dtype
        dense.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's card; ours comes with publishing


def _join_adapters(peft: Any, folder: Path) -> None:
    """Two LoRA adapters as one: B₁A₁ + B₂A₂ = [B₁ B₂][A₁; A₂], exact and without touching the
    weights below, so that nothing is rounded and every PEFT reader can load it."""
    peft.base_model.add_weighted_adapter(
        [BELOW, TRAINED], [1.0, 1.0], _JOINED, combination_type="cat"
    )
    peft.save_pretrained(folder, selected_adapters=[_JOINED])
    for name in _ADAPTER_FILES:
        (folder / _JOINED / name).rename(folder / name)
    shutil.rmtree(folder / _JOINED)


def _write_generation_config(policy: Policy, tokenizer: Any, folder: Path) -> None:
    """End tokens: the tokenizer's EOS, which closes a turn, and those the model had before."""
    config = policy.model.generation_config
    before = config.eos_token_id
    ends = before if isinstance(before, list) else [before] if before is not None else []
    own = tokenizer.eos_token_id
    config.eos_token_id = [own, *(end for end in ends if end != own)] if ends != [own] else own
    config.pad_token_id = tokenizer.pad_token_id
    config.use_cache = True
    config.save_pretrained(folder)


def _load_again(
    folder: Path, policy: Policy, *, recipe: Recipe, dtype: torch.dtype, world: World
) -> Any:
    """The published folder as a reader loads it, on the device of training.

    The trained model leaves the GPU first, so that both never have to fit beside each other.
    """
    if not recipe.model.load_in_4bit:
        policy.model.to("cpu")
    if world.device == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
    if (folder / _ADAPTER_FILES[0]).is_file():
        below, _ = load_weights(recipe, policy.start, dtype=policy.model.dtype, world=world)
        model: Any = PeftModel.from_pretrained(below, str(folder))
    else:
        model, _ = read_weights(str(folder), dtype=dtype)
    return model if recipe.model.load_in_4bit else model.to(world.device)
