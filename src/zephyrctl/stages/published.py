"""Where does a stage leave the recipe that its figures were published for?"""

from __future__ import annotations

from zephyrctl.config.schema import Recipe
from zephyrctl.planning import drift
from zephyrctl.runs.store import Run


def settle(recipe: Recipe, run: Run, *, stage: drift.Stage) -> Recipe:
    """The recipe without published figures that mean something else here; says every difference
    from the packaged recipe that changes the result."""
    recipe_to_run, left_out = drift.comparable(recipe, stage=stage)
    reporter = run.stage(stage).reporter()
    for text in (*drift.at_start(recipe, run, stage=stage), *left_out):
        reporter.notice(text, level="warning")
    return recipe_to_run
