"""Which judge does a configuration name?

A spec is `openai:MODEL`, `openai+https://host/v1:MODEL`, `local:MODEL` or `replay:FILE`.
"""

from __future__ import annotations

from zephyrctl import catalogue
from zephyrctl.config.schema import Recipe
from zephyrctl.errors import UsageError
from zephyrctl.evaluation.judges.contract import Judge
from zephyrctl.runs.references import safe_name


def open_judge(recipe: Recipe) -> Judge:
    """The judge of `eval.judge.spec`; UsageError where there is none or its kind is unknown."""
    spec = recipe.eval.judge.spec
    if spec is None:
        raise UsageError(
            "this benchmark needs a judge",
            where="eval.judge.spec",
            hint="--judge openai:MODEL, openai+http://host/v1:MODEL, local:MODEL or replay:FILE",
        )
    kind, _, rest = spec.partition(":")
    if kind.startswith("openai+"):
        kind = "openai"
    if not rest:
        raise UsageError(f"the judge '{spec}' names no model", hint="openai:MODEL, local:MODEL")
    return catalogue.JUDGES.load(kind)(recipe)


def judge_folder(name: str) -> str:
    """The judge's folder under `eval/<benchmark>/<model>/`."""
    return safe_name(name)
