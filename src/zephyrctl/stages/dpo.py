"""The preference stage."""

from __future__ import annotations

from zephyrctl.config.schema import Recipe
from zephyrctl.runs.manifest import Result
from zephyrctl.runs.store import Run


def run(recipe: Recipe, run: Run) -> Result:
    """Train the policy on the run's preference pairs: `RUN/dpo/model`."""
    from zephyrctl.training import dpo, simpo

    return (dpo if recipe.dpo.has_reference else simpo).train(recipe, run)
