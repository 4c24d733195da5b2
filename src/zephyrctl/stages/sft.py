"""The supervised fine-tuning stage."""

from __future__ import annotations

from zephyrctl.config.schema import Recipe
from zephyrctl.runs import signals
from zephyrctl.runs.importing import importing
from zephyrctl.runs.manifest import Result
from zephyrctl.runs.store import Run
from zephyrctl.stages import forecast, published


def run(recipe: Recipe, run: Run) -> Result:
    """Fine-tune the base model on the run's dialogues: `RUN/sft/model`."""
    with signals.at_once():  # imports of many seconds too
        with importing():
            from zephyrctl.training.sft import train

        expected = forecast.make(published.settle(recipe, run, stage="sft"), run, "sft")
    return forecast.compared(expected, train(expected.recipe, run), run.stage("sft"))
