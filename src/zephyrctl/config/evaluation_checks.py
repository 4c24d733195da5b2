"""Which settings of `eval` contradict each other?"""

import re
from collections.abc import Iterator

from zephyrctl.config.finding import Finding
from zephyrctl.config.schema import Recipe
from zephyrctl.registry import did_you_mean

_SECRET_IN_URL = re.compile(r"://[^/@\s]+@")


def evaluation_findings(recipe: Recipe) -> Iterator[Finding]:
    """Problems of `eval` that no single field shows."""
    given = recipe.eval
    if given.baseline is not None and given.baseline not in given.models:
        yield Finding(
            ("eval.baseline", "eval.models"),
            f"eval.baseline '{given.baseline}' is not among eval.models"
            f"{did_you_mean(given.baseline, given.models)}",
            f"--set 'eval.models=[{', '.join([*given.models, given.baseline])}]'",
        )
    lists: list[tuple[str, list[str]]] = [
        ("eval.models", given.models),
        ("eval.benchmarks", list(given.benchmarks)),
    ]
    for path, items in lists:
        twice = sorted({item for item in items if items.count(item) > 1})
        if twice:
            yield Finding((path,), f"{path} names '{twice[0]}' twice")
    if given.benchmarks and not given.models:
        yield Finding(
            ("eval.models",), "eval.models is empty", "--set 'eval.models=[base, sft, dpo]'"
        )
    named = [("eval.judge.spec", given.judge.spec or "")]
    named += [(f"eval.models.{index}", model) for index, model in enumerate(given.models)]
    for path, value in named:
        if _SECRET_IN_URL.search(value):
            yield Finding(
                (path,),
                f"{path.removesuffix('.spec')} holds a password or key in its address",
                "put the key into a file and name it in eval.judge.api_key_file",
            )
    yield from _judging(recipe)


def _judging(recipe: Recipe) -> Iterator[Finding]:
    given = recipe.eval
    pairs = given.mt_bench.mode != "single" and "mt-bench" in given.benchmarks
    if pairs and len(given.models) == 1:
        yield Finding(
            ("eval.mt_bench.mode", "eval.models"),
            f"eval.mt_bench.mode '{given.mt_bench.mode}' compares two models, and there is one",
            "--set 'eval.models=[sft, dpo]', or --set eval.mt_bench.mode=single",
        )
    prices = (given.judge.prompt_price, given.judge.completion_price)
    if prices.count(None) == 1:
        yield Finding(
            ("eval.judge.prompt_price", "eval.judge.completion_price"),
            "one of the judge's two prices is missing",
            "--set eval.judge.prompt_price=2.5 --set eval.judge.completion_price=10",
        )
