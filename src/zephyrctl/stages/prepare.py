"""Stage `data`: filter, convert and tokenize the recipe's sources."""

from __future__ import annotations

from zephyrctl.config.schema import Recipe
from zephyrctl.data.prepare import prepare
from zephyrctl.data.without_torch import do_without_torch
from zephyrctl.models.resolve import locate
from zephyrctl.runs import signals
from zephyrctl.runs.manifest import Result
from zephyrctl.runs.store import Run


def run(recipe: Recipe, run: Run) -> Result:
    """Prepare the splits of this run; the tokenizer is the base model's."""
    stage = run.stage("data")
    reporter = stage.reporter()
    # Chunks, shards and splits are renamed when they are whole: a stop need not wait for any.
    with signals.at_once():
        base = locate(recipe.model.base, revision=recipe.model.revision, say=reporter.notice)
        do_without_torch()  # the base is there; the rest is text
        account = prepare(
            recipe, run, tokenizer_path=str(base.path), revision=None, reporter=reporter
        )
    outputs = [stage.path / name for name in (*account.stages, "account.json")]
    return Result(metrics=account.metrics(), outputs=outputs, notices=account.notices)
