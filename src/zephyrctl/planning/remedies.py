"""What would make a recipe fit that does not?

What is decided here changes what is trained, or how exactly; so it is proposed, never done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zephyrctl.config import sharing
from zephyrctl.config.schema import Recipe
from zephyrctl.planning import choose
from zephyrctl.planning.architecture import Architecture
from zephyrctl.planning.choose import STAGES, Setting, TrainingStage
from zephyrctl.planning.hardware import Device

_OPEN = {
    "micro_batch_size": "auto",
    "micro_batch_tokens": "auto",
    "gradient_checkpointing": "auto",
    "optimizer": "auto",
}
_SHARDS = {"strategy": "fsdp2"}
_LORA = {"adapter": {"type": "lora"}}
_REMEDIES: tuple[tuple[dict[str, Any], str, str], ...] = (
    ({"micro_batch_size": 1}, "one example at a time", "{stage}.micro_batch_size=1"),
    (_OPEN, "let the plan choose", ""),
    (_SHARDS, "the training state shared out", ""),
    ({"optimizer": "adamw_8bit"}, "an 8-bit optimizer", "{stage}.optimizer=adamw_8bit"),
    ({"reference": "precompute"}, "no second model in memory", "{stage}.reference=precompute"),
    (_LORA, "an adapter", "{stage}.adapter.type=lora"),
    ({**_LORA, "load_in_4bit": True}, "QLoRA", "{stage}.adapter.type=lora"),
)


def ways_out(
    recipe: Recipe,
    model: Architecture,
    device: Device,
    *,
    stages: Sequence[TrainingStage] = STAGES,
    flash: bool = False,
) -> list[str]:
    """Changes, the mildest first, after which every stage fits; empty where none does."""
    needy: list[TrainingStage] = [
        name for name in stages if not _fits(recipe, model, device, [name], flash=flash)
    ]
    found = []
    for settings, name, flag in _REMEDIES:
        changed = _changed(recipe, settings, stages=needy, on_gpu=device.on_gpu)
        if changed is None or changed == recipe:
            continue
        if _fits(changed, model, device, stages, flash=flash):
            found.append(f"{name}: {_flags(recipe, changed, settings, flag, stages=needy)}")
    return found


def _fits(
    recipe: Recipe,
    model: Architecture,
    device: Device,
    stages: Sequence[TrainingStage],
    *,
    flash: bool,
) -> bool:
    settings = [Setting(recipe, name, model, device, None) for name in stages]
    return all(choose.choose(setting, flash=flash).fits for setting in settings)


def _changed(
    recipe: Recipe,
    settings: Mapping[str, Any],
    *,
    stages: Sequence[TrainingStage],
    on_gpu: bool,
) -> Recipe | None:
    """The recipe with `settings` in these stages; None where they need a GPU that is not there or
    belong to another stage."""
    if not on_gpu and ("load_in_4bit" in settings or settings.get("optimizer") == "adamw_8bit"):
        return None
    values = recipe.model_dump()
    for key, value in settings.items():
        if key == "load_in_4bit":
            values["model"] = values["model"] | {key: value}
            continue
        if key == "strategy":
            if any(sharing.problems(recipe, stage, strategy="fsdp2") for stage in stages):
                return None
            values["launch"] = values["launch"] | {key: value}
            continue
        for stage in stages:
            if key not in values[stage]:
                continue
            old = values[stage][key]
            values[stage][key] = {**old, **value} if isinstance(value, dict) else value
    return Recipe.model_validate(values)


def _flags(
    recipe: Recipe,
    changed: Recipe,
    settings: Mapping[str, Any],
    flag: str,
    *,
    stages: Sequence[TrainingStage],
) -> str:
    """What is to be added to the command line."""
    parts: list[str] = []
    if settings.get("load_in_4bit"):
        parts.append("model.load_in_4bit=true")
    if recipe.launch.strategy != changed.launch.strategy:
        parts.append(f"launch.strategy={changed.launch.strategy}")
    for stage in stages:
        before, after = getattr(recipe, stage), getattr(changed, stage)
        if flag and before != after:
            parts.append(flag.format(stage=stage))
        elif not flag:
            differing = [key for key in _OPEN if getattr(before, key) != getattr(after, key)]
            parts += [f"{stage}.{key}=auto" for key in differing]
    return " ".join(f"--set {part}" for part in parts)
