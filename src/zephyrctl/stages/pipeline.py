"""Which stages have to be run, and why?"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from zephyrctl.config.schema import Recipe
from zephyrctl.errors import InputsChanged, JobFailed, UsageError, ZephyrctlError, quoted
from zephyrctl.runs import adjustments, atomic, changes
from zephyrctl.runs import manifest as manifests
from zephyrctl.runs.changes import Change
from zephyrctl.runs.references import ModelRef, resolve_model
from zephyrctl.runs.stage_record import AllowedChange, Manifest
from zephyrctl.runs.store import STAGES, Run, StageDir, StageName
from zephyrctl.stages import forecast
from zephyrctl.stages.inputs import BASE_DIGEST, inputs
from zephyrctl.training import checkpoints

_NEEDS: Mapping[StageName, tuple[StageName, ...]] = {
    "data": (),
    "sft": ("data",),
    "dpo": ("data", "sft"),
    "eval": ("sft", "dpo"),
}
_TRAINING: tuple[StageName, ...] = ("sft", "dpo")
_SHOWN_CHANGES = 3
_EVIDENCE = ("diverged-rank*.json", "spike-step*.json")
"""What training leaves of steps that broke (`training/diverged.py`): no evidence of other steps."""


@dataclass(frozen=True)
class Terms:
    """On which terms unfinished training may go on."""

    allow: tuple[str, ...] = ()
    """Fields that may have changed since it was begun."""
    processes: int | None = None
    """Processes that would train now; None compares them with nothing."""
    strategy: str = "auto"
    """How they would share the work, as the recipe says it."""


@dataclass(frozen=True)
class Decision:
    """What to do with a stage, with the reason in words."""

    action: Literal["run", "skip", "resume", "follow", "refuse"]
    """`follow`: a cluster is at work on it already; nothing of it is touched."""
    reason: str
    changes: tuple[Change, ...] = ()
    """What changed since unfinished training was begun."""


@dataclass(frozen=True)
class Step:
    """A stage and what was decided about it."""

    stage: StageName
    decision: Decision


def decide(
    stage: StageName,
    recipe: Recipe,
    run: Run,
    *,
    force: bool = False,
    dry: bool = False,
    terms: Terms | None = None,
) -> Decision:
    """Whether to run, skip or resume a stage, or to refuse it; `dry` fetches nothing to find out.

    Refused is training that has checkpoints of other inputs, and not all of them are allowed.
    """
    folder = run.stage(stage)
    manifest = folder.read_manifest()
    if manifest is None:
        return Decision("run", "first run")
    if force:
        return Decision("run", "--force")
    now = inputs(stage, recipe, run, locate_base=not dry)
    before = {k: v for k, v in manifest.inputs.items() if not dry or k != BASE_DIGEST}
    differences = changes.between(before, now)
    if manifest.state != "finished":
        return _unfinished(folder, manifest, differences, terms or Terms())
    if differences:
        return Decision("run", _in_words(differences))
    gone = [path for path in manifest.outputs if not (folder.path / path).exists()]
    if gone:
        return Decision("run", f"{gone[0]} is gone")
    return Decision("skip", "finished, inputs unchanged")


def refusal(stage: StageName, run: Run, decision: Decision) -> InputsChanged:
    """The error of a refused stage: what changed, and each way out."""
    return changes.refused(
        decision.changes,
        stage=stage,
        stands=run.stage(stage).resumable_work() or "",
        where=str(run.stage(stage).path),
    )


def check_allowed(
    recipe: Recipe, run: Run, stages: Sequence[StageName], terms: Callable[[StageName], Terms]
) -> str | None:
    """Before anything is written: InputsChanged where a stage is refused already now, UsageError
    for an allowed field that no stage has or that did not change. A remark where nothing stands."""
    trained: list[StageName] = [stage for stage in _TRAINING if stage in stages]
    waiting: list[StageName] = [stage for stage in trained if _waits(run.stage(stage))]
    allow = tuple(dict.fromkeys(field for stage in trained for field in terms(stage).allow))
    if allow:
        _check_known(allow, recipe, run, trained)
    moved = {"data"}  # the data stage may change it yet
    undecided = _undecided(recipe, run, stages)
    for stage in waiting:
        decision = decide(stage, recipe, run, dry=True, terms=terms(stage))
        found = [change for change in decision.changes if change.field not in undecided]
        if any(change.fixed or change.field not in allow for change in found):
            raise refusal(stage, run, decision)
        manifest = run.stage(stage).read_manifest()
        before = manifest.allowed_changes if manifest is not None else []
        moved |= {change.field for change in (*decision.changes, *before)}
    same = [field for field in allow if field not in moved]
    if waiting and same:
        raise UsageError(
            f"{same[0]} did not change since {waiting[0]} was begun",
            where="--allow-change",
            hint="leave the flag away; --dry-run shows what did change",
        )
    if allow and not waiting:
        return "--allow-change has nothing to act on: no unfinished training has checkpoints"
    return None


def plan_steps(
    recipe: Recipe,
    run: Run,
    stages: Sequence[StageName],
    *,
    force: Collection[str] = (),
    terms: Callable[[StageName], Terms] = lambda stage: Terms(),
) -> list[Step]:
    """The decisions as they stand now, for `--dry-run`; a stage after one that runs, runs too."""
    steps: list[Step] = []
    anew: set[StageName] = set()
    for stage in stages:
        decision = decide(stage, recipe, run, force=stage in force, dry=True, terms=terms(stage))
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
    verify_hashes: bool = True,
) -> None:
    """Carry out one decision: clear what an older attempt left, start, and check that it ended.

    `start` runs the stage's processes to their end. An error of theirs is kept in the manifest
    where they could not write it themselves. InputsChanged where the decision is to refuse.
    """
    if step.decision.action == "skip":
        # Where a kill came after the end, and before they were gone.
        for text in checkpoints.clear_finished(run.stage(step.stage)):
            say(f"{step.stage:<6} {text}")
        return
    if step.decision.action == "refuse":
        raise refusal(step.stage, run, step.decision)
    folder = run.stage(step.stage)
    if step.decision.action == "resume":
        _record_terms(step, recipe, run, verify_hashes=verify_hashes)
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
            hint=f"zephyrctl runs logs {quoted(run.root)} --stage {step.stage}",
        )
        _record_end(folder, error)
        raise error


def start_afresh(folder: StageDir, recipe: Recipe, *, force: bool) -> list[str]:
    """Remove what would be taken for this attempt's work; returns what was removed, in words.

    A finished model or prepared data stays until the new one replaces it. Answers and judgments
    cost time and money: the evaluation decides itself which are still good, unless forced.
    """
    said: list[str] = []
    # First: a kill after it finds no stage that is finished and has lost its records.
    folder.manifest_path.unlink(missing_ok=True)
    if folder.checkpoints.is_dir():
        stands = sorted(path.name for path in folder.checkpoints.glob("checkpoint-*"))
        checkpoints.clear(folder.checkpoints)
        if stands:
            said.append(f"{folder.name}: starts afresh; removed {', '.join(stands)}")
    if folder.name == "eval":
        for benchmark in recipe.eval.benchmarks if force else ():
            if (folder.path / benchmark).is_dir():
                atomic.remove(folder.path / benchmark)  # of a link, the link itself
                said.append(f"eval: removed earlier answers and judgments of {benchmark}")
    adjustments.forget(folder)
    evidence = (path for pattern in _EVIDENCE for path in folder.path.glob(pattern))
    for path in (folder.metrics_path, folder.events_path, folder.samples_path, *evidence):
        path.unlink(missing_ok=True)
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


def _unfinished(
    folder: StageDir, manifest: Manifest, differences: list[Change], terms: Terms
) -> Decision:
    how = {"failed": "failed", "stopped": "was stopped", "running": "was killed"}
    state = how.get(manifest.state, manifest.state)
    stands = folder.resumable_work()
    if folder.name not in _TRAINING or not stands:
        if differences:
            return Decision("run", _in_words(differences))
        if stands:
            return Decision("resume", f"{state}; {stands}")
        return Decision("run", f"{state} before anything was saved")
    found = (*differences, *_of_launch(folder, manifest, terms))
    if any(change.fixed or change.field not in terms.allow for change in found):
        return Decision("refuse", _in_words(found), found)
    allowed = f", with {_in_words(found)}" if found else ""
    return Decision("resume", f"{state}; {stands}{allowed}", found)


def _waits(folder: StageDir) -> bool:
    """Whether this is unfinished training with something to go on from."""
    return not folder.is_finished() and folder.resumable_work() is not None


def _undecided(recipe: Recipe, run: Run, stages: Sequence[str]) -> list[str]:
    """Inputs of training that a stage before it is about to make again, perhaps as they were."""
    made: dict[StageName, str] = {"data": "data", "sft": "init_model"}
    found: list[str] = []
    for stage, field in made.items():
        if stage in stages and (found or decide(stage, recipe, run, dry=True).action != "skip"):
            found.append(field)
    return found


def _check_known(
    allow: Sequence[str], recipe: Recipe, run: Run, stages: Sequence[StageName]
) -> None:
    known = set(changes.OF_LAUNCH)
    for stage in stages:
        manifest = run.stage(stage).read_manifest()
        known |= {*inputs(stage, recipe, run, locate_base=False)}
        known |= {*manifest.inputs} if manifest is not None else set()
    wrong = changes.unknown(allow, sorted(known))
    if wrong is not None:
        raise UsageError(wrong, where="--allow-change", hint="--dry-run shows what changed")


def _of_launch(folder: StageDir, manifest: Manifest, terms: Terms) -> list[Change]:
    """What differs from the newest checkpoint beside the inputs; the strategy, which the processes
    settle, is compared by them."""
    record = checkpoints.record_of_newest(folder)
    if record is None:
        return []
    allowed = {change.field: change.after for change in manifest.allowed_changes}
    found = [
        change
        for change in changes.of_versions(record.versions)
        if allowed.get(change.field) != change.after
    ]
    if terms.processes is not None:
        # What `auto` comes to is settled by the processes; they compare it.
        told = terms.strategy != "auto" or changes.STRATEGY in terms.allow
        then = (record.world_size, record.strategy)
        now = (terms.processes, terms.strategy if told else None)
        found += changes.of_launch(then=then, now=now, allowed=allowed)
    return found


def _record_terms(step: Step, recipe: Recipe, run: Run, *, verify_hashes: bool) -> None:
    """Keep what was allowed in the stage's manifest; its processes go by that."""
    folder = run.stage(step.stage)
    newest = folder.newest_checkpoint() or 0
    before = folder.read_manifest()
    manifests.go_on(
        folder,
        inputs=inputs(step.stage, recipe, run),
        changes=[
            AllowedChange(field=c.field, before=c.before, after=c.after, step=newest)
            for c in step.decision.changes
        ],
        verify_hashes=verify_hashes,
    )
    if before is not None:
        forecast.carry_over(folder, before=before.digest)


def _in_words(differences: Sequence[Change]) -> str:
    shown = "; ".join(change.in_words() for change in differences[:_SHOWN_CHANGES])
    more = len(differences) - _SHOWN_CHANGES
    return f"{shown}; and {more} more" if more > 0 else shown


def _record_end(folder: StageDir, error: ZephyrctlError) -> None:
    manifest = folder.read_manifest()
    if manifest is None or manifest.state == "finished" or manifest.error == error.to_json():
        return
    manifests.fail(folder, error)
