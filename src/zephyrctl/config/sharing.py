"""Which settings cannot be trained with weights that are shared out among processes?

Asked by the memory plan before it chooses a strategy, and by training before anything is loaded.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

from zephyrctl.config.schema import Recipe
from zephyrctl.errors import Problem

Strategy = Literal["single", "ddp", "fsdp2", "zero3"]
Sharded = Literal["fsdp2", "zero3"]
SHARDED: tuple[Sharded, ...] = ("fsdp2", "zero3")
"""Values of `launch.strategy` that share out weights, gradients and optimizer state."""
DEFERRED_SHARE = 0.25
"""Gradients wait unsharded for the last pass of a step where they take at most this share of a
device's memory."""
OPTIMIZERS: dict[Sharded, tuple[str, ...]] = {
    "fsdp2": ("auto", "adamw", "rmsprop"),
    "zero3": ("auto", "adamw"),
}
"""Optimizers that work on a part of each tensor, and save it."""


def problems(recipe: Recipe, stage: Literal["sft", "dpo"], *, strategy: Sharded) -> list[Problem]:
    """Every setting of this stage that the strategy cannot carry out, with a way out."""
    training = recipe.sft if stage == "sft" else recipe.dpo
    found: list[Problem] = []
    ddp = "--set launch.strategy=ddp"
    if recipe.model.load_in_4bit:
        text = f"4-bit weights cannot be shared out by {strategy}"
        found.append(Problem(text, "model.load_in_4bit", ddp))
    if training.compile is True:
        text = f"layers that {strategy} shares out are not compiled here"
        place = f"{stage}.compile"
        found.append(Problem(text, place, f"--set {place}=false   or {ddp}"))
    if training.optimizer not in OPTIMIZERS[strategy]:
        text = f"the optimizer {training.optimizer} does not work on weights shared out"
        place = f"{stage}.optimizer"
        found.append(Problem(f"{text} by {strategy}", place, f"--set {place}=adamw   or {ddp}"))
    has_adapter = training.adapter.type != "none"
    if stage == "dpo" and recipe.dpo.has_reference and recipe.dpo.reference == "copy":
        place = "dpo.reference"
        hint = f"--set {place}=precompute"
        if strategy == "zero3":
            found.append(Problem("zero3 keeps no second model as the reference", place, hint))
        elif has_adapter:
            text = "a model with an adapter is not copied in shards"
            found.append(Problem(text, place, f"--set {place}=adapter   or {hint}"))
    return found


def lacks_zero3(*, on_cpu: bool) -> Problem | None:
    """What zero3 needs, and this machine or its Python has not."""
    place, instead = "launch.strategy", "--set launch.strategy=fsdp2"
    if find_spec("deepspeed") is None:
        install = f"pip install 'zephyrctl[deepspeed]'   or {instead}"
        return Problem("zero3 needs the package deepspeed", place, install)
    if on_cpu:
        text = "zero3 needs GPUs: on a CPU accelerate leaves deepspeed out"
        return Problem(text, place, instead)
    return None


def gradients_wait(gradient_bytes: float, *, memory: float) -> bool:
    """Whether the gradients of a step, `gradient_bytes` unsharded on each device, stay there until
    its last pass, which spares traffic; otherwise they are summed in shards after every pass."""
    return gradient_bytes <= DEFERRED_SHARE * memory
