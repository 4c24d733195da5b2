"""How does a command carry out stages: decide, start, show, and say what came of it?"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from zephyrctl import terminal
from zephyrctl.cli.concluding import Account, as_rows, asked_of, conclude, write_report
from zephyrctl.cli.launching import launch, plan_stage, show_launch
from zephyrctl.config import sharing
from zephyrctl.config.layers import Loaded
from zephyrctl.config.paths import local_sources
from zephyrctl.config.schema import Recipe
from zephyrctl.errors import EnvironmentProblem, GateMissed, Interrupted, StoppedEarly, Terminated
from zephyrctl.launch import followers, nodes
from zephyrctl.launch.nodes import Leader
from zephyrctl.launch.plan import TRAINING
from zephyrctl.launch.slurm.standing import standing_jobs
from zephyrctl.launch.stopping import listening, stopping_early
from zephyrctl.models.resolve import locate
from zephyrctl.reports.progress import Mode, choose_mode
from zephyrctl.runs import signals
from zephyrctl.runs.store import (
    STAGES,
    Run,
    StageName,
    lock,
    open_run,
    run_of,
    write_config,
    write_stage_configs,
)
from zephyrctl.stages.pipeline import (
    Decision,
    Step,
    Terms,
    check_allowed,
    decide,
    execute,
    init_model,
    plan_steps,
    refusal,
)

ASK_FROM_S = 600.0
"""A finished training stage that took this long is not redone without a question."""


@dataclass(frozen=True)
class Wishes:
    """How a command that carries out stages was asked to do it."""

    force: frozenset[str] = frozenset()
    """Stages that are done again although nothing changed."""
    progress: str | None = None
    json: bool = False
    yes: bool = False
    only_asks: bool = False
    """The run is asked one question more: the configuration that it was made with stays."""
    allow: tuple[str, ...] = ()
    """Fields that may have changed since unfinished training was begun."""
    verify_hashes: bool = True
    """Whether checkpoints are compared with their digests before training goes on from one."""


def carry_out(loaded: Loaded, stages: Sequence[str], wishes: Wishes) -> None:
    """Carry out `stages` (and `report`) of the configured run, one after the other."""
    recipe = loaded.recipe
    rank = nodes.machine(recipe.launch, stages)
    try:
        with listening(recipe.launch):
            if rank:
                _follow(recipe, stages, wishes, rank=rank)
            else:
                _lead(loaded, stages, wishes, alone=rank is None)
    except KeyboardInterrupt:
        raise Interrupted("stopped by Ctrl-C", hint="the same command goes on from here") from None


def _lead(loaded: Loaded, stages: Sequence[str], wishes: Wishes, *, alone: bool) -> None:
    """Decide and start each stage, on this machine or as the first of several."""
    recipe = loaded.recipe
    with signals.at_once():
        _bring_questions(recipe, stages)
        _agree_to_spend(recipe, stages, wishes)
    run = open_run(recipe)
    mode = choose_mode(wishes.progress, json_output=wishes.json)
    account = Account()
    wanted: list[StageName] = [name for name in STAGES if name in stages]
    with lock(run, purpose=f"zephyrctl {shlex.join(sys.argv[1:2])}".strip()):
        with signals.at_once():
            standing = standing_jobs(
                run, recipe, stages=stages, force=wishes.force, own=wishes.only_asks
            )
            _begin(loaded, run, stages, wishes)
        with nullcontext() if alone else nodes.leading(run, recipe, stages) as leader:
            for stage in wanted:
                _one_stage(
                    stage, recipe, run, account=account, mode=mode, wishes=wishes, leader=leader,
                    standing=standing.get(stage),
                )  # fmt: skip
            if "report" in stages:
                account.report = _report(run)
    asked = asked_of(recipe) if wanted == ["eval"] else None
    silent = mode == "none"
    conclude(run, account, stages=stages, as_json=wishes.json, silent=silent, asked=asked)


def _begin(loaded: Loaded, run: Run, stages: Sequence[str], wishes: Wishes) -> None:
    """Refuse what is refused anyway, write down the configuration, and find the base model."""
    recipe = loaded.recipe
    wanted: list[StageName] = [name for name in STAGES if name in stages]
    _check_terms(recipe, run, stages, wishes)
    _check_strategy(recipe, run, wanted, wishes)
    if wishes.only_asks:
        write_stage_configs(run, wanted, recipe)
    else:
        write_config(run, loaded)
    terminal.say(f"run    {run.root}")
    if wanted and (wanted != ["eval"] or "base" in recipe.eval.models):
        located = locate(recipe.model.base, revision=recipe.model.revision, say=terminal.say)
        terminal.say(f"base   {located.note}")


def show_steps(loaded: Loaded, stages: Sequence[str], wishes: Wishes) -> None:
    """Print what would be done and why, and what a judge would cost; nothing is started, and
    nothing fetched but the questions that a judge's bill is made from."""
    run = run_of(loaded.recipe)
    wanted: list[StageName] = [name for name in STAGES if name in stages]
    terms = _terms_of(loaded.recipe, run, wishes)
    steps = plan_steps(loaded.recipe, run, wanted, force=wishes.force, terms=terms)
    refused = next((step for step in steps if step.decision.action == "refuse"), None)
    if wishes.json:
        _check_terms(loaded.recipe, run, stages, wishes)
        if refused:
            raise refusal(refused.stage, run, refused.decision)
    bills = _bills(loaded.recipe, stages, wishes)
    if wishes.json:
        shown = {"run": run.name, "root": str(run.root), "steps": as_rows(steps)}
        terminal.emit_json(shown if bills is None else {**shown, "judge": bills[1]})
        return
    if "data" in wanted:
        for source in local_sources(loaded.recipe):
            terminal.say(f"reads  {source}")
    for step in steps:
        terminal.out(f"{step.stage:<6} {step.decision.action:<6} {step.decision.reason}")
    for line in bills[0] if bills else ():
        terminal.out(line)
    _check_terms(loaded.recipe, run, stages, wishes)
    if refused:
        raise refusal(refused.stage, run, refused.decision)


def act(
    loaded: Loaded,
    stages: Sequence[str],
    wishes: Wishes,
    *,
    dry_run: bool,
    print_launch: bool,
) -> None:
    """Carry out the stages, or only show the steps or the commands."""
    if print_launch:
        recipe, own_config = loaded.recipe, wishes.only_asks
        show_launch(recipe, run_of(recipe), stages, own_config=own_config, as_json=wishes.json)
    elif dry_run:
        show_steps(loaded, stages, wishes)
    else:
        carry_out(loaded, stages, wishes)


def require_init_model(recipe: Recipe) -> None:
    """UsageError where the model that DPO starts from is not there; a stale one is mentioned."""
    run = run_of(recipe)
    start_of_dpo = init_model(recipe, run)
    if start_of_dpo.stage == "sft" and start_of_dpo.run == run:
        decision = decide("sft", recipe, run, dry=True)
        if decision.action != "skip":
            terminal.say(f"sft    kept as it is, though it would run anew: {decision.reason}")


def _check_terms(recipe: Recipe, run: Run, stages: Sequence[str], wishes: Wishes) -> None:
    """Refuse what is refused anyway before the run's configuration is replaced."""
    wanted: list[StageName] = [s for s in STAGES if s in stages and s not in wishes.force]
    remark = check_allowed(recipe, run, wanted, _terms_of(recipe, run, wishes))
    if remark is not None:
        terminal.say(remark)


def _check_strategy(recipe: Recipe, run: Run, stages: Sequence[StageName], wishes: Wishes) -> None:
    """Before data are prepared for it: EnvironmentProblem where training here would be shared by
    zero3, and what that needs is not here; ConfigError for several processes that are single. A
    cluster's or a cloud's machines look themselves."""
    strategy = recipe.launch.strategy
    if strategy not in ("single", "zero3") or recipe.launch.backend != "local":
        return
    for stage in stages:
        if stage not in TRAINING:
            continue
        plan = plan_stage(stage, recipe, run, own_config=wishes.only_asks)
        several = plan.nodes * plan.processes > 1
        if several and (lacks := sharing.lacks_zero3(on_cpu=plan.devices == "cpu")):
            raise EnvironmentProblem(lacks.message, where=lacks.where, hint=lacks.hint)


def _terms_of(recipe: Recipe, run: Run, wishes: Wishes) -> Callable[[StageName], Terms]:
    """On which terms unfinished training of a stage may go on."""

    def terms(stage: StageName) -> Terms:
        processes = None
        if stage in ("sft", "dpo") and run.stage(stage).newest_checkpoint() is not None:
            plan = plan_stage(stage, recipe, run, own_config=wishes.only_asks)
            processes = plan.nodes * plan.processes
        return Terms(wishes.allow, processes, recipe.launch.strategy)

    return terms


def _bring_questions(recipe: Recipe, stages: Sequence[str]) -> None:
    """Before anything is started: the files of judged benchmarks are found or fetched.

    The data stage then keeps their prompts out of the training data, and a machine without a
    network hears of it now and not after the training.
    """
    if "eval" not in stages or recipe.eval.judge.spec is None:
        return
    from zephyrctl.evaluation.files.folders import alpaca_eval_folder, mt_bench_folder

    folders = {"mt-bench": mt_bench_folder, "alpaca-eval": alpaca_eval_folder}
    for benchmark in recipe.eval.benchmarks:
        if benchmark in folders:
            folders[benchmark](recipe)


def _agree_to_spend(recipe: Recipe, stages: Sequence[str], wishes: Wishes) -> None:
    """Before anything is started: a judge that costs money needs an agreement."""
    if "eval" not in stages or recipe.eval.judge.spec is None:
        return
    from zephyrctl.cli import spending

    run = run_of(recipe)
    spending.agree(recipe, run, stages, force=wishes.force, yes=wishes.yes, may_ask=not wishes.json)


def _bills(
    recipe: Recipe, stages: Sequence[str], wishes: Wishes
) -> tuple[list[str], dict[str, Any]] | None:
    """What a judge would cost, as lines and as data; None without one."""
    if "eval" not in stages or recipe.eval.judge.spec is None:
        return None
    from zephyrctl.cli import spending

    bills = spending.expected(recipe, run_of(recipe), stages, force=wishes.force)
    return spending.lines(bills, recipe), spending.to_json(bills, recipe)


def _follow(recipe: Recipe, stages: Sequence[str], wishes: Wishes, *, rank: int) -> None:
    """Carry out this machine's part of what machine 0 leads, and end as it ends."""
    run = open_run(recipe)
    parts = followers.follow(run, recipe, stages, rank=rank)
    if wishes.json:
        terminal.emit_json(
            {"run": run.name, "root": str(run.root), "machine": rank, "parts": parts}
        )
        return
    done = f"took part in {', '.join(parts)}" if parts else "had nothing to do"
    terminal.say(f"machine {rank} {done}; machine 0 is done")


def _one_stage(
    stage: StageName,
    recipe: Recipe,
    run: Run,
    *,
    account: Account,
    mode: Mode,
    wishes: Wishes,
    leader: Leader | None,
    standing: str | None,
) -> None:
    with stopping_early(run.stage(stage)), signals.at_once():
        terms = _terms_of(recipe, run, wishes)(stage)
        decision = decide(stage, recipe, run, force=stage in wishes.force, terms=terms)
    if decision.action == "refuse":
        raise refusal(stage, run, decision)
    if standing and decision.action != "skip":
        decision = Decision("follow", standing)
    step = Step(stage, decision)
    account.steps.append(step)
    if decision.action == "skip":
        terminal.say(f"{stage:<6} skipped: {decision.reason}")
        execute(step, recipe, run, start=lambda name: None, say=terminal.say)
        return
    with signals.at_once():
        _ask_before_redo(stage, run, decision, wishes)
    verb = {"resume": "resumes", "follow": "goes on"}.get(decision.action, "runs")
    terminal.say(f"{stage:<6} {verb}: {decision.reason}")

    def start_and_show(name: StageName) -> None:
        launch(name, recipe, run, own_config=wishes.only_asks, mode=mode, leader=leader)

    try:
        execute(
            step,
            recipe,
            run,
            start=start_and_show,
            say=terminal.say,
            verify_hashes=wishes.verify_hashes,
        )
    except GateMissed as error:
        # The scores stand, only lower than asked for: the report is still wanted.
        account.missed = error


def _report(run: Run) -> Path:
    """Write the page; StoppedEarly where a stop was asked for since the last stage."""
    try:
        with signals.at_once():
            return write_report(run)
    except Terminated as error:
        raise StoppedEarly(
            f"the report was {error.message}; every stage before it is done",
            where=str(run.root),
            hint="the same command writes it",
        ) from None


def _ask_before_redo(stage: StageName, run: Run, decision: Decision, wishes: Wishes) -> None:
    """A long training is not thrown away for an edit: ask, where somebody can answer."""
    manifest = run.stage(stage).read_manifest()
    if manifest is None or manifest.state != "finished" or stage not in ("sft", "dpo"):
        return
    if wishes.yes or wishes.json or stage in wishes.force or manifest.seconds < ASK_FROM_S:
        return
    if not (terminal.is_tty(sys.stdin) and terminal.is_tty(sys.stderr)):
        return
    minutes = manifest.seconds / 60
    question = f"{stage} is finished ({minutes:.0f} min) and would be redone: {decision.reason}."
    if not typer.confirm(terminal.safe(question + " Go on?"), err=True):
        raise Interrupted(
            f"{stage} was left as it is", hint="give the new one its own name: --set name=OTHER"
        )
