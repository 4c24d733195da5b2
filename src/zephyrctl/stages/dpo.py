"""The preference stage."""

from __future__ import annotations

from zephyrctl import catalogue
from zephyrctl.config.schema import Recipe
from zephyrctl.runs.manifest import Result
from zephyrctl.runs.store import Run
from zephyrctl.stages import published


def run(recipe: Recipe, run: Run) -> Result:
    """Train the policy on the run's preference pairs: `RUN/dpo/model`."""
    from zephyrctl.training import dpo, own_loss

    recipe = published.settle(recipe, run, stage="dpo")
    is_own = recipe.dpo.losses[0] in catalogue.OWN_LOSSES
    return (own_loss if is_own else dpo).train(recipe, run)
