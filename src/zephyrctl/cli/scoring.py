"""Which run does an evaluation belong to?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from zephyrctl.catalogue import BENCHMARKS
from zephyrctl.cli import driving
from zephyrctl.cli.options import load_from
from zephyrctl.config.layers import Loaded, load
from zephyrctl.config.schema import Recipe
from zephyrctl.errors import UsageError
from zephyrctl.runs.references import ModelRef, resolve_model, safe_name
from zephyrctl.runs.store import Run, run_of

_STAGES = ("base", "sft", "dpo")
_OPTIONS = {
    "eval.judge.spec": "--judge openai:MODEL, openai+http://host/v1:MODEL, local:MODEL or "
    "replay:FILE",
    "questions": "--questions FILE",
}
"""How a missing setting is given on the command line, by what its reason names."""


@dataclass(frozen=True)
class Given:
    """What the command line said."""

    models: tuple[str, ...]
    config: Path | None
    recipe: str | None
    sets: tuple[str, ...]
    flags: Mapping[str, object]


def score(
    benchmark: str, given: Given, wishes: driving.Wishes, *, dry_run: bool, print_launch: bool
) -> None:
    """Score the models on one benchmark, in the run that they belong to."""
    loaded, borrowed = configure(benchmark, given)
    recipe = loaded.recipe
    run = run_of(recipe)
    _require_models(recipe, run)
    _require_questions(benchmark, recipe)
    wishes = replace(wishes, only_asks=borrowed)
    driving.act(loaded, ("eval",), wishes, dry_run=dry_run, print_launch=print_launch)


def configure(benchmark: str, given: Given) -> tuple[Loaded, bool]:
    """The configuration, and whether it is that of a run which is only asked a question.

    `-c` and `--recipe` come first; then the run of the first MODEL that is a stage of one; then
    `./zephyr.yaml`; last, for models and questions alone, a run named after the first model.
    """
    flags = {**given.flags, "eval.benchmarks": [benchmark]}
    outer = load(config=given.config, recipe=given.recipe, sets=given.sets)
    root = Path(outer.recipe.output_root).expanduser()
    run = None if given.config or given.recipe else _run_of_models(given.models, root)
    if run is not None:
        flags |= {"output_root": str(run.root.parent), "name": run.name}
        config: Path | None = run.root / "config.yaml"
    else:
        config = given.config
        if outer.source == "defaults":
            if not given.models:
                raise UsageError(
                    "no model and no run",
                    hint=f"zephyrctl eval {_command_of(benchmark)} @last, "
                    "or -c FILE, or --recipe NAME",
                )
            _refuse_stages(given.models)
            flags["name"] = safe_name(f"eval-{given.models[0]}")[:64]
    models = [_short(model, run, root) for model in given.models]
    baseline = flags.get("eval.baseline")
    if isinstance(baseline, str):
        flags["eval.baseline"] = baseline = _short(baseline, run, root)
        if models and baseline not in models:
            models.insert(0, baseline)
    flags["eval.models"] = models or None
    loaded = load_from(config, given.recipe, given.sets, flags)
    return loaded, run is not None


def _refuse_stages(models: Sequence[str]) -> None:
    """UsageError where a word belongs to a run, and none is named."""
    for model in models:
        if model in _STAGES:
            hint = f"{'a Hub id' if model == 'base' else f'@{model}, RUN/{model}'}, or -c FILE"
            raise UsageError(f"'{model}' of which run?", hint=hint)


def _run_of_models(models: Sequence[str], root: Path) -> Run | None:
    for model in models:
        ref = _found(model, root)
        if ref is not None and ref.run is not None:
            return ref.run
    return None


def _short(model: str, run: Run | None, root: Path) -> str:
    """`dpo` for the DPO model of `run` itself, however it was named."""
    ref = _found(model, root)
    if run is None or ref is None or ref.run is None or ref.stage is None:
        return model
    return ref.stage if ref.run.root.resolve() == run.root.resolve() else model


def _found(model: str, root: Path) -> ModelRef | None:
    """What a word names without a run; None for `base`, `sft` and `dpo`, which need one."""
    if model in _STAGES:
        return None
    return resolve_model(model, output_root=root)


def _require_models(recipe: Recipe, run: Run) -> None:
    """UsageError where one of the models is not there, before anything is started."""
    root = Path(recipe.output_root).expanduser()
    baseline = recipe.eval.baseline
    for model in [*recipe.eval.models, *([baseline] if baseline else [])]:
        resolve_model(model, output_root=root, run=run, recipe=recipe)


def _require_questions(benchmark: str, recipe: Recipe) -> None:
    from zephyrctl.evaluation.benchmark import LeftOut

    made = BENCHMARKS.load(benchmark)(recipe)
    if isinstance(made, LeftOut):
        raise UsageError(
            f"nothing to ask: {made.reason}",
            hint=next((option for key, option in _OPTIONS.items() if key in made.reason), None),
        )


def _command_of(benchmark: str) -> str:
    """The command that asks a benchmark; one's own questions belong to `mt-bench`."""
    return "mt-bench" if benchmark == "own" else benchmark
