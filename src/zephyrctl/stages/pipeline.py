"""Which stages have to be run, and why?"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from zephyrctl.config.schema import Recipe
from zephyrctl.errors import JobFailed, UsageError, ZephyrctlError
from zephyrctl.runs import manifest as manifests
from zephyrctl.runs.manifest import Manifest
from zephyrctl.runs.references import ModelRef, resolve_model
from zephyrctl.runs.store import STAGES, Run, StageDir, StageName
from zephyrctl.stages.inputs import BASE_DIGEST, changed, inputs

_NEEDS: Mapping[StageName, tuple[StageName, ...]] = {
    "data": (),
    "sft": ("data",),
    "dpo": ("data", "sft"),
    "eval": ("sft", "dpo"),
}
_SHOWN_CHANGES = 3


@dataclass(frozen=True)
class Decision:
    """What to do with a stage, with the reason in words."""

    action: Literal["run", "skip", "resume"]
    reason: str


@dataclass(frozen=True)
class Step:
    """A stage and what was decided about it."""

    stage: StageName
    decision: Decision


def decide(
    stage: StageName, recipe: Recipe, run: Run, *, force: bool = False, dry: bool = False
) -> Decision:
    """Whether to run, skip or resume a stage; `dry` fetches nothing to find out."""
    folder = run.stage(stage)
    manifest = folder.read_manifest()
    if manifest is None:
        return Decision("run", "first run")
    if force:
        return Decision("run", "--force")
    now = inputs(stage, recipe, run, locate_base=not dry)
    before = {k: v for k, v in manifest.inputs.items() if not dry or k != BASE_DIGEST}
    differences = changed(before, now)
    if differences:
        return Decision("run", _in_words(differences))
    if manifest.state != "finished":
        return _unfinished(folder, manifest)
    gone = [path for path in manifest.outputs if not (folder.path / path).exists()]
    if gone:
        return Decision("run", f"{gone[0]} is gone")
    return Decision("skip", "finished, inputs unchanged")


def plan_steps(
    recipe: Recipe, run: Run, stages: Sequence[StageName], *, force: Collection[str] = ()
) -> list[Step]:
    """The decisions as they stand now, for `--dry-run`; a stage after one that runs, runs too."""
    steps: list[Step] = []
    anew: set[StageName] = set()
    for stage in stages:
        decision = decide(stage, recipe, run, force=stage in force, dry=True)
        because = [name for name in _NEEDS[stage] if name in anew]
        if because and decision.action == "skip":
            # What it makes may turn out equal; then the stage after it is skipped after all.
            decision = Decision("run", f"unless {' and '.join(because)} comes out unchanged")
        if decision.action != "skip":
            anew.add(stage)
        steps.append(Step(stage, decision))
    return steps


def execute(
    step: Step,
    recipe: Recipe,
    run: Run,
    *,
    start: Callable[[StageName], None],
    say: Callable[[str], None] = lambda text: None,
) -> None:
    """Carry out one decision: clear what an older attempt left, start, and check that it ended.

    `start` runs the stage's processes to their end. An error of theirs is kept in the manifest
    where they could not write it themselves.
    """
    if step.decision.action == "skip":
        return
    folder = run.stage(step.stage)
    if step.decision.action == "run":
        for text in start_afresh(folder, recipe, force=step.decision.reason == "--force"):
            say(text)
    try:
        start(step.stage)
    except ZephyrctlError as error:
        _record_end(folder, error)
        raise
    if not folder.is_finished():
        error = JobFailed(
            f"{step.stage} ended without a result",
            where=str(folder.path),
            hint=f"zephyrctl runs logs {run.root} --stage {step.stage}",
        )
        _record_end(folder, error)
        raise error


def start_afresh(folder: StageDir, recipe: Recipe, *, force: bool) -> list[str]:
    """Remove what would be taken for this attempt's work; returns what was removed, in words.

    A finished model or prepared data stays until the new one replaces it. Answers and judgments
    cost time and money: the evaluation decides itself which are still good, unless forced.
    """
    said: list[str] = []
    if folder.checkpoints.is_dir():
        stands = sorted(path.name for path in folder.checkpoints.glob("checkpoint-*"))
        shutil.rmtree(folder.checkpoints)
        if stands:
            said.append(f"{folder.name}: starts afresh; removed {', '.join(stands)}")
    if folder.name == "eval":
        for benchmark in recipe.eval.benchmarks if force else ():
            if (folder.path / benchmark).is_dir():
                shutil.rmtree(folder.path / benchmark)
                said.append(f"eval: removed earlier answers and judgments of {benchmark}")
    for path in (folder.metrics_path, folder.events_path, folder.samples_path):
        path.unlink(missing_ok=True)
    if folder.manifest_path.exists():
        folder.manifest_path.unlink()
    return said


def window(
    *,
    first: str | None = None,
    last: str | None = None,
    stages: Sequence[str] = (*STAGES, "report"),
) -> list[str]:
    """The stages from `first` to `last`, both included."""
    begin = stages.index(first) if first else 0
    end = stages.index(last) if last else len(stages) - 1
    if begin > end:
        raise UsageError(
            f"--from {first} comes after --until {last}", hint=f"the order is {', '.join(stages)}"
        )
    return list(stages[begin : end + 1])


def init_model(recipe: Recipe, run: Run) -> ModelRef:
    """The model that DPO starts from; UsageError with the way to get it where it is not there."""
    root = Path(recipe.output_root).expanduser()
    return resolve_model(recipe.dpo.init_from, output_root=root, run=run, recipe=recipe)


def _unfinished(folder: StageDir, manifest: Manifest) -> Decision:
    how = {"failed": "failed", "stopped": "was stopped", "running": "was killed"}
    state = how.get(manifest.state, manifest.state)
    stands = folder.resumable_work()
    if stands:
        return Decision("resume", f"{state}; {stands}")
    return Decision("run", f"{state} before anything was saved")


def _in_words(differences: list[str]) -> str:
    shown = "; ".join(differences[:_SHOWN_CHANGES])
    more = len(differences) - _SHOWN_CHANGES
    return f"{shown}; and {more} more" if more > 0 else shown


def _record_end(folder: StageDir, error: ZephyrctlError) -> None:
    manifest = folder.read_manifest()
    if manifest is None or manifest.state == "finished" or manifest.error == error.to_json():
        return
    manifests.fail(folder, error)
