"""Where does a recipe leave the packaged one it builds on, in a way that changes the result?

The published figures of a recipe hold for its settings only. Each line says what differs and why it
matters; where a difference makes a figure another quantity, the figure is not compared at all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from zephyrctl.config.layers import load
from zephyrctl.config.recipes import packaged
from zephyrctl.config.schema import Recipe
from zephyrctl.config.schema.data import Source
from zephyrctl.config.schema.training import Dpo, Training
from zephyrctl.runs.store import Run

Stage = Literal["sft", "dpo"]

STEPS_TOLERANCE = 0.02
"""A number of steps this far from the published one means another packing, split or batch (C2)."""
ADAPTER_FACTOR = 10
"""Adapters want about ten times the learning rate of full training (alignment-handbook #68)."""

_ANY_RESULT = "no figure that was published for the recipe applies"
_MODEL = {
    "base": f"another base model: {_ANY_RESULT}",
    "revision": "another revision may hold other weights or another tokenizer",
    "chat_template": "other tokens are trained: losses and answers cannot be compared",
    "load_in_4bit": "weights rounded to 4 bits end at a higher loss (SFT 0.950 against 0.935)",
}
_TRAINING = {
    "learning_rate": "the rate belongs to the recipe's batch and loss",
    "global_batch_size": "the number and the noise of the updates change",
    "epochs": "the number of steps changes, and so does how far the policy drifts",
    "max_steps": "the number of steps changes, and so does how far the policy drifts",
    "lr_scheduler": "the rate falls along another curve",
    "warmup_ratio": "the rate rises over another share of the steps",
    "max_length": "other tokens are cut off",
    "optimizer": "other steps are taken for the same gradients",
    "weight_decay": "the weights are pulled towards 0",
    "trainable_layers": "other weights are trained",
}
_SFT = {
    "packing": "the number of steps and the loss change",
    "loss_on": "a loss over other tokens cannot be compared",
    "neftune_alpha": "the training loss is that of disturbed embeddings",
}
_DPO = {
    "beta": "rewards, margins and loss scale with it",
    "loss": "another loss has another scale",
    "label_smoothing": "the loss has another floor",
    "max_prompt_length": "other prompts are cut",
    "init_from": "the policy starts elsewhere",
}
_ADAPTER: tuple[str, ...] = ("type", "r", "alpha", "target_modules")
_ADAMW = {"auto", "adamw", "flash_adamw", "adamw_bf16", "paged_adamw_32bit"}
"""Optimizers that take the steps of AdamW, whatever they keep in memory."""

_SAME_SFT = ("packing", "loss_on", "max_length")
_SAME_DPO = ("beta", "loss", "label_smoothing", "max_length", "max_prompt_length", "init_from")
_SAME_MODEL = ("base", "chat_template")


def warnings(recipe: Recipe, packaged: Recipe, *, name: str) -> list[str]:
    """One line for each setting of model, data, SFT and DPO that differs from the packaged one."""
    lines = _of_model(recipe, packaged, name=name)
    return lines + [
        line for stage in _STAGES for line in _of_stage(recipe, packaged, stage, name=name)
    ]


def at_start(recipe: Recipe, run: Run, *, stage: Stage) -> list[str]:
    """The lines for one stage of a run, against the packaged recipe that its configuration extends;
    none where it extends none."""
    try:
        source = json.loads((run.root / "manifest.json").read_text(encoding="utf-8"))["source"]
    except (OSError, ValueError, KeyError):
        return []
    base = base_of(source)
    if base is None:
        return []
    name, theirs = base
    return _of_model(recipe, theirs, name=name) + _of_stage(recipe, theirs, stage, name=name)


def base_of(source: str) -> tuple[str, Recipe] | None:
    """Name and content of the nearest packaged recipe among the files that a configuration was read
    from: "zephyr.yaml ← recipe zephyr-7b-qlora ← recipe zephyr-7b"."""
    names = {item.name for item in packaged()}
    chain = [part.strip().removeprefix("recipe ") for part in source.split("←")]
    name = next((name for name in chain if name in names), None)
    return None if name is None else (name, load(recipe=name, env={}).recipe)


def steps(recipe: Recipe, *, stage: Stage, planned: int | None) -> list[str]:
    """A line where the planned number of steps on the published data is not the published one."""
    training: Training = getattr(recipe, stage)
    published = training.expected.get("steps")
    owners = _owners(recipe, stage)
    is_foreign = owners and all(_other_rows(recipe, other, stage) for _, other in owners)
    if published is None or planned is None or is_foreign:
        return []
    room = max(published.tolerance, STEPS_TOLERANCE * published.value)
    if abs(planned - published.value) <= room:
        return []
    return [
        f"{stage} takes {planned} steps, the published run took {published.value:.0f}: another "
        "packing, split, number of epochs or global batch"
    ]


def comparable(recipe: Recipe, *, stage: Stage) -> tuple[Recipe, list[str]]:
    """The recipe without published figures that mean something else here, and what was left out.

    Figures that came from a packaged recipe hold for its base model, template, data and loss; those
    that the user wrote are the user's.
    """
    training: Training = getattr(recipe, stage)
    owners = _owners(recipe, stage)
    if not owners:
        return recipe, []
    different = {name: _incomparable(recipe, other, stage) for name, other in owners}
    name = min(different, key=lambda name: len(different[name]))
    if not different[name]:
        return recipe, []
    bare = training.model_copy(update={"expected": {}, "canaries": []})
    text = (
        f"the published figures of recipe {name} are not compared with: "
        f"{', '.join(different[name])} {'is' if len(different[name]) == 1 else 'are'} not its own"
    )
    return recipe.model_copy(update={stage: bare}), [text]


_STAGES: tuple[Stage, ...] = ("sft", "dpo")


def _figures(recipe: Recipe, stage: Stage) -> tuple[Any, Any]:
    training: Training = getattr(recipe, stage)
    return training.expected, training.canaries


def _owners(recipe: Recipe, stage: Stage) -> list[tuple[str, Recipe]]:
    """Packaged recipes with the same published figures, by name; none where there are no figures,
    or the user's own."""
    if not any(_figures(recipe, stage)):
        return []
    all_of_them = [(item.name, load(recipe=item.name, env={}).recipe) for item in packaged()]
    mine = _figures(recipe, stage)
    return [(name, other) for name, other in all_of_them if _figures(other, stage) == mine]


def _incomparable(recipe: Recipe, packaged: Recipe, stage: Stage) -> list[str]:
    """Settings by which a metric of this stage is another quantity."""
    found = [f"model.{key}" for key in _SAME_MODEL if _differs(recipe.model, packaged.model, key)]
    found += _other_rows(recipe, packaged, stage)
    keys = _SAME_SFT if stage == "sft" else _SAME_DPO
    mine, theirs = getattr(recipe, stage), getattr(packaged, stage)
    return found + [f"{stage}.{key}" for key in keys if _differs(mine, theirs, key)]


def _other_rows(recipe: Recipe, packaged: Recipe, stage: Stage) -> list[str]:
    mine, theirs = getattr(recipe.data, stage), getattr(packaged.data, stage)
    return [f"data.{stage}.{key}" for key in ("train", "test") if _differs(mine, theirs, key)]


def _of_model(recipe: Recipe, packaged: Recipe, *, name: str) -> list[str]:
    same_base = recipe.model.base == packaged.model.base
    why = {key: text for key, text in _MODEL.items() if same_base or key != "revision"}
    return _differences(recipe.model, packaged.model, why, prefix="model", name=name)


def _of_stage(recipe: Recipe, packaged: Recipe, stage: Stage, *, name: str) -> list[str]:
    mine: Training = getattr(recipe, stage)
    theirs: Training = getattr(packaged, stage)
    lines = _of_data(recipe, packaged, stage, name=name)
    keys = _TRAINING | (_DPO if isinstance(mine, Dpo) else _SFT)
    lines += _differences(mine, theirs, keys, prefix=stage, name=name)
    same_rate = mine.learning_rate == theirs.learning_rate
    if mine.global_batch_size != theirs.global_batch_size and same_rate:
        lines.append(
            f"{stage}.learning_rate was chosen for batches of {theirs.global_batch_size}, "
            f"not of {mine.global_batch_size}"
        )
    return lines + _of_adapter(mine, theirs, stage, name=name, same_rate=same_rate)


def _of_adapter(
    mine: Training, theirs: Training, stage: Stage, *, name: str, same_rate: bool
) -> list[str]:
    if mine.adapter.type == theirs.adapter.type == "none":
        return []
    if mine.adapter.type == theirs.adapter.type:
        why = dict.fromkeys(_ADAPTER, "another adapter learns at another pace")
        return _differences(mine.adapter, theirs.adapter, why, prefix=f"{stage}.adapter", name=name)
    lines = [
        f"{stage}.adapter.type is {mine.adapter.type}, recipe {name} says {theirs.adapter.type}"
    ]
    was_full, is_full = theirs.adapter.type == "none", mine.adapter.type == "none"
    if same_rate and was_full != is_full:
        rate = theirs.learning_rate * (ADAPTER_FACTOR if was_full else 1 / ADAPTER_FACTOR)
        kinds = ("an adapter", "full training") if was_full else ("full training", "an adapter")
        word = "ten times" if was_full else "a tenth of"
        lines.append(
            f"{stage}.learning_rate is still the one for {kinds[1]}: {kinds[0]} wants about "
            f"{word} it (--set {stage}.learning_rate={rate:.0e})"
        )
    return lines


def _of_data(recipe: Recipe, packaged: Recipe, stage: Stage, *, name: str) -> list[str]:
    mine, theirs = getattr(recipe.data, stage), getattr(packaged.data, stage)
    lines = []
    for key in ("train", "test"):
        if _differs(mine, theirs, key):
            lines.append(
                f"data.{stage}.{key} is {_sources(getattr(mine, key))}, recipe {name} says "
                f"{_sources(getattr(theirs, key))}: other rows, so other steps and losses"
            )
    if _differs(mine, theirs, "filters"):
        lines.append(f"data.{stage}.filters differ from recipe {name}: other rows are trained on")
    return lines


def _differences(
    mine: Any, theirs: Any, why: Mapping[str, str], *, prefix: str, name: str
) -> list[str]:
    return [
        f"{prefix}.{key} is {_shown(getattr(mine, key))}, recipe {name} says "
        f"{_shown(getattr(theirs, key))}: {reason}"
        for key, reason in why.items()
        if _differs(mine, theirs, key)
    ]


def _differs(mine: Any, theirs: Any, key: str) -> bool:
    a, b = getattr(mine, key), getattr(theirs, key)
    if key == "optimizer":
        return a != b and not {a, b} <= _ADAMW
    return a != b


def _sources(sources: Sequence[Source]) -> str:
    """Data sets by path, split and revision; `nothing` for an empty list."""
    return (
        " + ".join(
            f"{source.path}:{source.split}@{(source.revision or 'main')[:10]}"
            f"{f' (limit {source.limit})' if source.limit else ''}"
            f"{f' × {source.weight:g}' if source.weight != 1 else ''}"
            for source in sources
        )
        or "nothing"
    )


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return "+".join(map(str, cast("list[object]", value)))
    return "none" if value is None else str(value)
