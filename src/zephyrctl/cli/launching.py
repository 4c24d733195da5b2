"""How does a command start the processes of a stage, wherever they run, or show how it would?"""

from __future__ import annotations

import os
import secrets
import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from zephyrctl import environment, terminal
from zephyrctl.catalogue import LAUNCHERS
from zephyrctl.config.schema import Recipe
from zephyrctl.config.schema.launch import Launch
from zephyrctl.errors import EnvironmentProblem, UsageError
from zephyrctl.launch.grace import saved_bytes
from zephyrctl.launch.nodes import Leader
from zephyrctl.launch.places import own_address
from zephyrctl.launch.plan import WORKER, Host, LaunchPlan, plan_launch
from zephyrctl.launch.restarts import keep_going
from zephyrctl.launch.stopping import stopping_early
from zephyrctl.reports.progress import Mode, Viewer
from zephyrctl.runs import signals
from zephyrctl.runs.references import is_endpoint
from zephyrctl.runs.store import STAGES, Run, StageName


def launch(
    stage: StageName,
    recipe: Recipe,
    run: Run,
    *,
    own_config: bool,
    mode: Mode,
    leader: Leader | None = None,
) -> None:
    """Run a stage's processes to their end, in as many attempts as it may have, and show them; with
    a `leader`, on the machines that it leads.

    `own_config`: the stage reads the configuration in its own folder and not the run's.
    """
    start = leader.start if leader else LAUNCHERS.load(recipe.launch.backend)

    def attempt() -> None:
        name = secrets.token_hex(8)
        with signals.at_once():
            plan = plan_stage(stage, recipe, run, own_config=own_config, attempt=name)
        if plan.grace_s > recipe.launch.grace_s:
            text = f"when asked to stop it has {plan.grace_s:.0f} s to save its checkpoint"
            terminal.say(f"{stage:<6} {text}")
        # One viewer for each: an attempt that goes on takes back what is done again.
        with Viewer(run, stage, mode, hint_next=False) as viewer:
            start(plan, recipe.launch, on_poll=viewer.poll, on_stop=terminal.say)

    with stopping_early(run.stage(stage)):
        keep_going(run.stage(stage), recipe, attempt=attempt, say=terminal.say)


def show_launch(
    recipe: Recipe, run: Run, stages: Sequence[str], *, own_config: bool, as_json: bool
) -> None:
    """Print what each stage would be started with; nothing is started."""
    settings = recipe.launch
    plans = [
        plan_stage(stage, recipe, run, own_config=own_config) for stage in STAGES if stage in stages
    ]
    if settings.backend == "skypilot":
        plans = [plan for plan in plans if plan.stage != "data"]  # prepared here, as no job
        if plans:
            terminal.say(f"# copies {run.root / 'launch'}/STAGE.config.json, which printing does")
            terminal.say("# not write; the command without --print-launch writes it and the job")
    elif plans and not own_config:
        _tell_of_config(recipe, run)
    if as_json:
        shown = [{**plan.to_json(), **_consumed(plan, settings)} for plan in plans]
        terminal.emit_json({"run": run.name, "launch": shown})
        return
    for plan in plans:
        machines = f"{plan.nodes} machines × " if plan.nodes > 1 else ""
        terminal.say(
            f"# {plan.stage}: {machines}{plan.processes} × {plan.devices}, logs in {plan.log_dir}"
        )
        terminal.out(_in_words(plan, settings))


def _tell_of_config(recipe: Recipe, run: Run) -> None:
    """Say where what is printed would read another configuration than the one it was printed for,
    or none: printing writes nothing."""
    if not run.config_path.is_file():
        state = "is not there yet"
    elif run.recipe() != recipe:
        state = "holds other settings than these"
    else:
        return
    terminal.say(f"# reads {run.config_path}, which {state};")
    terminal.say("# zephyrctl data prepare with the same options writes it")


def plan_stage(
    stage: StageName, recipe: Recipe, run: Run, *, own_config: bool, attempt: str = "attempt"
) -> LaunchPlan:
    """The plan of one stage from this machine."""
    own = ("--config", str(run.stage(stage).config_path.absolute())) if own_config else ()
    return plan_launch(
        run,
        stage,
        recipe.launch,
        host=_this_machine(recipe.launch, attempt=attempt),
        worker=(*WORKER, *own),
        alone=stage == "eval" and all(map(is_endpoint, recipe.eval.models)),
        saved_bytes=saved_bytes(recipe, stage),
    )


def parse_gpus(text: str | None) -> str | list[int] | None:
    """`all`, `none`, or numbers such as `0,1`; UsageError for anything else."""
    if text is None or text in ("all", "none"):
        return text
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise UsageError(f"--gpus takes all, none, or numbers such as 0,1; not '{text}'")
    return [int(part) for part in parts]


def _this_machine(settings: Launch, *, attempt: str) -> Host:
    """This machine; the GPUs of a cluster cannot be seen from it."""
    is_here = settings.backend == "local"
    address: str | None = None
    if settings.node_rank and settings.rendezvous:
        with suppress(EnvironmentProblem):
            address = own_address(settings.rendezvous)
    return Host(
        gpus=environment.visible_gpus() if is_here else None,
        cores=environment.cpu_cores(),
        env_names=tuple(os.environ),
        rank=settings.node_rank or 0,
        address=address,
        attempt=attempt,
    )


def _consumed(plan: LaunchPlan, settings: Launch) -> dict[str, Any]:
    """What else the launcher makes of the plan, as data."""
    if settings.backend == "skypilot":
        from zephyrctl.launch import skypilot

        return {"task": skypilot.task(plan, settings)}
    return {"submission": list(_sbatch(plan, settings))} if settings.backend == "slurm" else {}


def _in_words(plan: LaunchPlan, settings: Launch) -> str:
    """What is started: a command of this machine, a job's submission, or a job's description."""
    if settings.backend == "skypilot":
        from zephyrctl.launch import skypilot

        return f"# {plan.stage}\n{skypilot.task_yaml(plan, settings)}---"
    return shlex.join(_sbatch(plan, settings)) if settings.backend == "slurm" else plan.command()


def _sbatch(plan: LaunchPlan, settings: Launch) -> tuple[str, ...]:
    from zephyrctl.launch.slurm.submission import submission

    # A job that is submitted has a mark of its own, by which it is found again.
    mark = "zephyrctl-MARK"
    given = submission(plan, settings, environ=os.environ, mark=mark, folder=Path.cwd())
    return given.argv
