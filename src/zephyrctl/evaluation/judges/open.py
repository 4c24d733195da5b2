"""Which judge does a configuration name?

A spec is `openai:MODEL`, `openai+https://host/v1:MODEL`, `local:MODEL` or `replay:FILE`.
"""

from __future__ import annotations

import re
from pathlib import Path

from zephyrctl import catalogue
from zephyrctl.config.schema import Recipe
from zephyrctl.errors import UsageError
from zephyrctl.evaluation.judges.contract import Judge
from zephyrctl.runs.references import safe_name

_SERVICE = re.compile(r"openai\+https?://[^\s/]+\S*:(?!\d+(/|$))[^\s/][^\s]*")
_EXAMPLES = "openai:MODEL, openai+http://host/v1:MODEL, local:MODEL or replay:FILE"


def open_judge(recipe: Recipe) -> Judge:
    """The judge of `eval.judge.spec`; UsageError where there is none or its kind is unknown."""
    spec = recipe.eval.judge.spec
    if spec is None:
        raise UsageError(
            "this benchmark needs a judge",
            where="eval.judge.spec",
            hint=f"--judge {_EXAMPLES}",
        )
    return catalogue.JUDGES.load(kind_of(spec))(recipe)


def require_access(recipe: Recipe) -> None:
    """The error that the judge's first request would end with, where that is clear beforehand: no
    key (CredentialsError), or a network that is forbidden (NetworkError)."""
    judge = open_judge(recipe)
    if kind_of(recipe.eval.judge.spec or "") == "openai":
        from zephyrctl.evaluation.judges.remote import RemoteJudge

        assert isinstance(judge, RemoteJudge)
        judge.require_access()


def kind_of(spec: str) -> str:
    """`openai`, `local` or `replay`; UsageError where the spec is none of them, or names nothing
    after its kind."""
    kind, colon, rest = spec.partition(":")
    if spec.startswith("openai+"):
        if not _SERVICE.fullmatch(spec):
            raise UsageError(
                f"the judge '{spec}' is not an address and a model",
                where="eval.judge.spec",
                hint="openai+http://localhost:8000/v1:MODEL",
            )
        return "openai"
    if not colon:
        raise UsageError(
            f"the judge '{spec}' does not say of which kind it is",
            where="eval.judge.spec",
            hint=_guess(spec),
        )
    entry = catalogue.JUDGES.get(kind)
    if not rest.strip():
        raise UsageError(
            f"the judge '{spec}' names no {'file' if kind == 'replay' else 'model'}",
            where="eval.judge.spec",
            hint=_EXAMPLES,
        )
    return entry.name


def judge_folder(name: str) -> str:
    """The judge's folder under `eval/<benchmark>/<model>/`."""
    return safe_name(name)


def _guess(spec: str) -> str:
    """What a spec without a kind was probably meant to be."""
    if Path(spec).is_file():
        return f"--judge replay:{spec}"
    if spec in catalogue.BASE_MODELS or Path(spec).is_dir() or "/" in spec:
        return f"--judge local:{spec}"
    return f"--judge openai:{spec}, or local:{spec}"
