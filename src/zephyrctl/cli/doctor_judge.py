"""Can the judged benchmarks of a recipe be judged from here?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from zephyrctl.cli.doctor_machine import Finding
from zephyrctl.errors import ZephyrctlError

if TYPE_CHECKING:
    from zephyrctl.config.schema import Recipe
    from zephyrctl.evaluation.files.pinned import BenchmarkName

_JUDGED = ("mt-bench", "alpaca-eval", "own")
_PUBLIC: tuple[BenchmarkName, ...] = ("mt-bench", "alpaca-eval")


def check(recipe: Recipe) -> list[Finding]:
    """Judge, price, files and questions of the benchmarks that `run` would judge.

    A benchmark that `run` leaves out is a warning; what would stop it is a problem. Nothing is
    fetched, and no judge is asked.
    """
    judged = [name for name in _JUDGED if name in recipe.eval.benchmarks]
    if not judged:
        return []
    if recipe.eval.judge.spec is None:
        text = f"eval.judge.spec is not set: run leaves {' and '.join(judged)} out"
        return [Finding("judge", "warning", text, "--set eval.judge.spec=openai:MODEL")]
    found = [_judge(recipe)]
    if found[0].state != "problem":
        found += _price(recipe)
    for name in _PUBLIC:
        if name in judged:
            found.append(_files(name, recipe))
    if "own" in judged:
        found.append(_own(recipe))
    return found


def _judge(recipe: Recipe) -> Finding:
    """Whether there can be such a judge, with the key that it needs."""
    from zephyrctl.evaluation.judges.open import kind_of

    settings = recipe.eval.judge
    spec = settings.spec or ""
    try:
        kind = kind_of(spec)
        if kind == "openai":
            from zephyrctl.generation.endpoint import Endpoint

            Endpoint.parse(
                spec,
                api_key_file=settings.api_key_file,
                key_option="eval.judge.api_key_file",
            )
    except ZephyrctlError as error:
        return Finding("judge", "problem", f"{spec}: {error.message}", error.hint)
    recorded = spec.partition(":")[2]
    if kind == "replay" and not Path(recorded).expanduser().is_file():
        remedy = "correct the path, or --set eval.judge.spec=local:MODEL"
        return Finding("judge", "problem", f"there is no file {recorded}", remedy)
    return Finding("judge", "ok", spec)


def _price(recipe: Recipe) -> list[Finding]:
    """Whether `run` has an agreement to pay the judge, or will ask for one."""
    from zephyrctl.evaluation.prices import price_of

    price = price_of(recipe)
    limit = recipe.eval.max_cost
    spec = recipe.eval.judge.spec
    if price is not None and price.is_free:
        return []
    if limit is None:
        cost = "costs money" if price else "has no known price"
        text = f"{spec} {cost}: run shows the bill and asks; without a terminal it ends"
        remedy = "run --max-cost USD, or --yes" if price else "run --yes"
        return [Finding("judge", "warning", text, remedy)]
    if price is None:
        text = f"{spec} has no known price, so eval.max_cost={limit:g} cannot be kept"
        remedy = "set eval.judge.prompt_price and eval.judge.completion_price"
        return [Finding("judge", "problem", text, remedy)]
    return [Finding("judge", "ok", f"at most {limit:g} USD (eval.max_cost)")]


def _files(benchmark: BenchmarkName, recipe: Recipe) -> Finding:
    """Whether the public files are here or can be had."""
    from zephyrctl.evaluation.files.folders import elsewhere, to_fetch
    from zephyrctl.models import hub

    data_dir = recipe.eval.data_dir
    try:
        absent = to_fetch(benchmark, recipe)
    except ZephyrctlError as error:
        where = f" ({error.where})" if error.where else ""
        return Finding(benchmark, "problem", f"{error.message}{where}", error.hint)
    if not absent:
        place = "in the cache" if data_dir is None else f"in {data_dir}"
        return Finding(benchmark, "ok", f"its files are {place}")
    if hub.answers():
        remedy = f"zephyrctl eval fetch {benchmark}"
        text = f"its files ({len(absent)} are missing) are fetched before the first stage"
        return Finding(benchmark, "ok", text, remedy)
    text = f"{absent[0].path} is not on this machine, and the network is out of reach"
    return Finding(benchmark, "problem", text, elsewhere(benchmark))


def _own(recipe: Recipe) -> Finding:
    """Whether questions and rubric of one's own can be used."""
    from zephyrctl.evaluation.own.questions import read_questions
    from zephyrctl.evaluation.own.rubric import read_rubric, require_usable

    settings = recipe.eval.own
    if settings.questions is None:
        text = "eval.own.questions is not set: run leaves own out"
        return Finding("own", "warning", text, "--set eval.own.questions=FILE")
    try:
        questions = read_questions(Path(settings.questions))
        rubric = read_rubric(Path(settings.rubric) if settings.rubric else None)
        by_text = recipe.eval.judge.scoring == "text"
        require_usable(rubric, questions, in_brackets=by_text)
    except ZephyrctlError as error:
        where = f" ({error.where})" if error.where else ""
        return Finding("own", "problem", f"{error.message}{where}", error.hint)
    count = "1 question" if len(questions) == 1 else f"{len(questions)} questions"
    return Finding("own", "ok", f"{count} in {settings.questions}")
