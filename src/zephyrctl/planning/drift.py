"""Where does a recipe leave the packaged one it builds on, in a way that changes the result?"""

from __future__ import annotations

from zephyrctl.config.schema import Recipe

_DECISIVE = ("learning_rate", "global_batch_size", "epochs", "max_length", "optimizer")


def warnings(recipe: Recipe, packaged: Recipe, *, name: str) -> list[str]:
    """One line for each decisive setting of SFT and DPO that differs from the packaged recipe's."""
    lines = []
    for stage in ("sft", "dpo"):
        mine, theirs = getattr(recipe, stage), getattr(packaged, stage)
        keys = (*_DECISIVE, "beta") if stage == "dpo" else _DECISIVE
        changed = {key for key in keys if getattr(mine, key) != getattr(theirs, key)}
        for key in keys:
            if key in changed:
                lines.append(
                    f"{stage}.{key} is {getattr(mine, key)}, recipe {name} says "
                    f"{getattr(theirs, key)}"
                )
        if "global_batch_size" in changed and "learning_rate" not in changed:
            lines.append(
                f"{stage}.learning_rate was chosen for batches of {theirs.global_batch_size}, "
                f"not of {mine.global_batch_size}"
            )
        if mine.adapter.type != theirs.adapter.type and "learning_rate" not in changed:
            lines.append(
                f"{stage}.adapter is {mine.adapter.type}, and the learning rate is still the one "
                f"for {theirs.adapter.type}: an adapter wants about ten times that of full training"
            )
    return lines
