"""The preference stage."""

from __future__ import annotations

from zephyrctl import catalogue
from zephyrctl.config.schema import Recipe
from zephyrctl.runs import signals
from zephyrctl.runs.importing import importing
from zephyrctl.runs.manifest import Result
from zephyrctl.runs.store import Run
from zephyrctl.stages import forecast, published


def run(recipe: Recipe, run: Run) -> Result:
    """Train the policy on the run's preference pairs: `RUN/dpo/model`."""
    with signals.at_once():  # imports of many seconds too
        with importing():
            from zephyrctl.training import dpo, own_loss

        expected = forecast.make(published.settle(recipe, run, stage="dpo"), run, "dpo")
    is_own = recipe.dpo.losses[0] in catalogue.OWN_LOSSES
    result = (own_loss if is_own else dpo).train(expected.recipe, run)
    return forecast.compared(expected, result, run.stage("dpo"))
