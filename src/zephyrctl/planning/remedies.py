"""What would make a recipe fit that does not?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zephyrctl.config.schema import Recipe
from zephyrctl.planning import memory
from zephyrctl.planning.architecture import Architecture
from zephyrctl.planning.hardware import Device
from zephyrctl.planning.plan import USABLE, load_of

_STAGES = ("sft", "dpo")
_ONE = {"micro_batch_size": 1}
_LORA = {"adapter": {"type": "lora"}}
_REMEDIES: tuple[tuple[dict[str, Any], str], ...] = (
    (_ONE, "--set sft.micro_batch_size=1 --set dpo.micro_batch_size=1"),
    (
        {**_ONE, "optimizer": "adamw_8bit"},
        "an 8-bit optimizer: --set sft.optimizer=adamw_8bit --set dpo.optimizer=adamw_8bit "
        "--set sft.micro_batch_size=1 --set dpo.micro_batch_size=1",
    ),
    ({**_ONE, **_LORA}, "an adapter: --set sft.adapter.type=lora --set dpo.adapter.type=lora"),
    ({**_ONE, **_LORA, "load_in_4bit": True}, "QLoRA, as in --recipe zephyr-7b-qlora"),
)


def ways_out(recipe: Recipe, model: Architecture, device: Device) -> list[str]:
    """Changes, the mildest first, after which every stage fits; empty where none does."""
    return [
        text
        for settings, text in _REMEDIES
        if _fits(_changed(recipe, settings, on_gpu=device.on_gpu), model, device)
    ]


def _fits(recipe: Recipe | None, model: Architecture, device: Device) -> bool:
    if recipe is None:
        return False
    peaks = [memory.peak(model, load_of(recipe, stage, model, device)) for stage in _STAGES]
    return all(peak.total <= USABLE * device.memory for peak in peaks)


def _changed(recipe: Recipe, settings: Mapping[str, Any], *, on_gpu: bool) -> Recipe | None:
    """The recipe with `settings` in both stages; None where they need a GPU that is not there."""
    if not on_gpu and ("load_in_4bit" in settings or "optimizer" in settings):
        return None
    values = recipe.model_dump()
    for key, value in settings.items():
        if key == "load_in_4bit":
            values["model"][key] = value
            continue
        for stage in _STAGES:
            old = values[stage][key]
            values[stage][key] = {**old, **value} if isinstance(value, dict) else value
    return Recipe.model_validate(values)
