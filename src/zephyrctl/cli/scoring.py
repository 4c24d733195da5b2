"""Which run does an evaluation belong to, and what does one judgment look like?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zephyrctl.catalogue import BENCHMARKS
from zephyrctl.cli import driving
from zephyrctl.cli.options import load_from
from zephyrctl.config.layers import Loaded, load
from zephyrctl.config.schema import Recipe
from zephyrctl.errors import UsageError
from zephyrctl.registry import did_you_mean
from zephyrctl.runs.atomic import read_jsonl, write_bytes
from zephyrctl.runs.references import ModelRef, resolve_model, safe_name
from zephyrctl.runs.store import Run, find_run, run_of


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
    _require_questions(benchmark, recipe)
    _require_models(recipe, run)
    with kept_config(run, keep=borrowed):
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
                    hint=f"zephyrctl eval {benchmark} @last, or -c FILE, or --recipe NAME",
                )
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


@contextmanager
def kept_config(run: Run, *, keep: bool) -> Iterator[None]:
    """Give a run its own configuration back: it says how the run was made, and one question more
    does not change that."""
    paths = (run.root / "config.yaml", run.config_path) if keep else ()
    before = {path: path.read_bytes() for path in paths}
    try:
        yield
    finally:
        for path, content in before.items():
            write_bytes(path, content)


def ranked(ref: str, *, benchmark: str, model: str | None, best: bool) -> list[dict[str, Any]]:
    """The judgments of one model, the worst first; of equal ones the earlier question first."""
    BENCHMARKS.get(benchmark)
    run = find_run(ref, output_root=Path(load().recipe.output_root).expanduser())
    folder = run.stage("eval").path / benchmark
    files = sorted(folder.glob("*/*/judgments.jsonl"), key=lambda path: path.stat().st_mtime)
    names = list(dict.fromkeys(path.parent.parent.name for path in files))
    if not files:
        raise UsageError(
            f"run '{run.name}' has no judgments of {benchmark}",
            where=str(folder),
            hint=f"zephyrctl eval {benchmark} {run.root}",
        )
    if model is not None and model not in names:
        raise UsageError(
            f"no judgments on model '{model}'{did_you_mean(model, names)}",
            hint=f"--model {', --model '.join(names)}",
        )
    chosen = [path for path in files if model in (None, path.parent.parent.name)][-1]
    return sorted(read_jsonl(chosen), key=_worth, reverse=best)


def judgment_lines(row: Mapping[str, Any]) -> list[str]:
    """One judgment as lines of text."""
    verdict = {True: "passed", False: "failed"}.get(row.get("passed", ""), row.get("score"))
    lines = [
        f"── {row.get('model')} · question {row['question_id']} · turn {row['turn']}"
        f" · {row.get('category', '')} · {verdict}"
    ]
    for name in ("prompt", "answer", "judgment"):
        if row.get(name):
            text = str(row[name]).replace("\n", "\n            ")
            lines.append(f"  {name:<9} {text}")
    failed = [check for check in row.get("checks", ()) if not check["passed"]]
    lines += [f"  {check['name']:<9} {check['found']}" for check in failed]
    return [*lines, ""]


def _worth(row: Mapping[str, Any]) -> float:
    """A verdict as a number; an unparsed one is the worst."""
    if row.get("passed") is not None:
        return float(row["passed"])
    score = row.get("score")
    return float(score) if isinstance(score, int | float) else -1.0


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
    if model in ("base", "sft", "dpo"):
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
            hint=f"zephyrctl eval {benchmark} --help says how to name it",
        )
