"""Does a job of the cluster still work on one of the run's stages?

A job outlives the command that submitted it. Another command must then follow it, and neither start
the same work beside it nor change the configuration that it reads.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from zephyrctl.config.schema import Recipe
from zephyrctl.errors import EnvironmentProblem, UsageError, quoted
from zephyrctl.launch.slurm import record
from zephyrctl.launch.slurm.controller import Job, Unreachable
from zephyrctl.launch.slurm.jobs import at_work
from zephyrctl.runs.store import STAGES, Run, StageDir, StageName

_SHOWN = 3


def standing_jobs(
    run: Run, recipe: Recipe, *, stages: Sequence[str], force: Collection[str], own: bool
) -> dict[StageName, str]:
    """The stages that a job is queued or at work for, with the job in words.

    UsageError where the command would disturb one: by other settings, by --force, or by starting
    the same stage elsewhere. `own` says that only the configurations of `stages` are written, and
    not the run's.
    """
    found: dict[StageName, str] = {}
    for name in STAGES:
        stage = run.stage(name)
        job = _job_of(stage)
        if job is None:
            continue
        text = f"Slurm job {job.number} is at work on {name}"
        if name in stages or not own:
            _same_settings(run, stage, recipe, text, job=job)
        if name in stages:
            _same_work(recipe, text, job=job, forced=name in force)
        found[name] = text
    return found


def _job_of(stage: StageDir) -> Job | None:
    standing = record.read(stage)
    if standing is None or standing.ended is not None:
        return None
    path = record.path_of(stage)
    known = f"job {standing.job}" if standing.job else "a job"
    if shutil.which("scontrol") is None:
        raise EnvironmentProblem(
            f"Slurm {known} may be at work on {stage.name}, and there is no Slurm here to ask",
            where=str(path),
            hint=f"run the command on a login node; or, where it has ended, rm {quoted(path)}",
        )
    try:
        return at_work(stage)
    except Unreachable as error:
        raise EnvironmentProblem(
            f"Slurm {known} may be at work on {stage.name}, and the cluster does not answer: "
            f"{error}",
            where=str(path),
            hint="try again later: scontrol ping",
        ) from None


def _same_settings(run: Run, stage: StageDir, recipe: Recipe, text: str, *, job: Job) -> None:
    own = stage.config_path if _reads_its_own(stage) else run.config_path
    differences = _differences(_read(own), recipe.model_dump(mode="json"))
    if differences:
        shown = "; ".join(differences[:_SHOWN])
        raise UsageError(
            f"{text} with other settings: {shown}",
            where=str(own),
            hint=f"{job.scancel}   (or give the new one its own name: --set name=OTHER)",
        )


def _same_work(recipe: Recipe, text: str, *, job: Job, forced: bool) -> None:
    if forced:
        raise UsageError(f"{text}: it cannot be begun afresh now", hint=job.scancel)
    if recipe.launch.backend != "slurm":
        raise UsageError(
            f"{text}: it cannot be started here as well",
            where="launch.backend",
            hint=f"--set launch.backend=slurm follows the job; {job.scancel} ends it",
        )


def _reads_its_own(stage: StageDir) -> bool:
    """Whether the job was told to read a configuration of the stage's own."""
    standing = record.read(stage)
    return standing is not None and "--config" in standing.command


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs, `key old → new`; where a job runs and how is not among it."""
    old, new = _flat(before), _flat(now)
    keys = [key for key in dict.fromkeys([*old, *new]) if not key.startswith("launch.")]
    return [
        f"{key} {json.dumps(old.get(key))} → {json.dumps(new.get(key))}"
        for key in keys
        if old.get(key) != new.get(key)
    ]


def _flat(values: Mapping[str, Any], *, prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, prefix=f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
