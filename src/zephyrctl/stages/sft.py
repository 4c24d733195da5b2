"""The supervised fine-tuning stage."""

from __future__ import annotations

from zephyrctl.config.schema import Recipe
from zephyrctl.runs.manifest import Result
from zephyrctl.runs.store import Run
from zephyrctl.stages import published


def run(recipe: Recipe, run: Run) -> Result:
    """Fine-tune the base model on the run's dialogues: `RUN/sft/model`."""
    from zephyrctl.training.sft import train

    return train(published.settle(recipe, run, stage="sft"), run)
