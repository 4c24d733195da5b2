"""What does a command say at its end: results, costs, the report, the next command?"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zephyrctl import terminal
from zephyrctl.catalogue import BENCHMARKS
from zephyrctl.config.schema import Recipe
from zephyrctl.errors import GateMissed, quoted
from zephyrctl.reports.closing import next_command
from zephyrctl.reports.tables import results_lines
from zephyrctl.runs.score_files import read_score_files
from zephyrctl.runs.store import Run
from zephyrctl.runs.summary import summarize
from zephyrctl.stages.pipeline import Step


@dataclass
class Account:
    """What a command did, for its last lines or its JSON object."""

    steps: list[Step] = field(default_factory=list)
    report: Path | None = None
    missed: GateMissed | None = None


def write_report(run: Run) -> Path:
    """Write the page of the run; returns its file."""
    from zephyrctl.reports import html

    return html.write_report(run)


def asked_of(recipe: Recipe) -> set[tuple[str, str | None]]:
    """Benchmark and judge of each of the recipe's, as their scores name them."""
    from zephyrctl.evaluation.benchmark import LeftOut

    made = [BENCHMARKS.load(name)(recipe) for name in recipe.eval.benchmarks]
    return {(each.name, each.judge_name) for each in made if not isinstance(each, LeftOut)}


def conclude(
    run: Run,
    account: Account,
    *,
    stages: Sequence[str],
    as_json: bool,
    silent: bool,
    asked: Collection[tuple[str, str | None]] | None,
) -> None:
    """The results, the report and the next command; then the gate, where one was missed.

    `silent`: nothing was drawn while the stages ran, so their notices are said here.
    """
    following = _next(run, account)
    summary = summarize(run, counted=True)
    if as_json and account.missed is None:
        report = str(account.report) if account.report else None
        terminal.emit_json(
            {
                **summary,
                "root": str(run.root),
                "steps": as_rows(account.steps),
                "notices": {step.stage: _notices(run, step) for step in account.steps},
                "report": report,
                "next": following,
            }
        )
    elif not as_json:
        if silent:
            _say_notices(run, account)
        if "eval" in stages:
            _say_scores(run, summary, asked=asked)
        _say_spent(run, account)
        if account.report:
            terminal.say(f"report {account.report}")
        terminal.say(f"Next: {following}")
    if account.missed is not None:
        raise account.missed


def _notices(run: Run, step: Step) -> list[str]:
    """What a stage that is finished had to say."""
    manifest = run.stage(step.stage).read_manifest()
    return list(manifest.notices) if manifest is not None else []


def _say_notices(run: Run, account: Account) -> None:
    for step in account.steps:
        if step.decision.action != "skip":
            for text in _notices(run, step):
                terminal.say(f"! {step.stage}: {text}")


def _say_scores(
    run: Run, summary: dict[str, Any], *, asked: Collection[tuple[str, str | None]] | None
) -> None:
    """The scores of the benchmarks and judges that were asked (None: of all), and which others
    there are."""
    scores = summary["scores"]
    mine = [s for s in scores if asked is None or (s["benchmark"], s["judge"]) in asked]
    for line in results_lines({**summary, "scores": mine}, read_score_files(run)):
        terminal.say(line)
    others = dict.fromkeys((s["benchmark"], s["judge"]) for s in scores if s not in mine)
    if others:
        names = [name if judge is None else f"{name} by {judge}" for name, judge in others]
        shown = f"zephyrctl runs show {quoted(run.root)}"
        terminal.say(f"also   {terminal.safe(', '.join(names))}, scored earlier: {shown}")


def _say_spent(run: Run, account: Account) -> None:
    """What the judge really cost, where it was asked by this command."""
    manifest = run.stage("eval").read_manifest()
    asked = any(step.stage == "eval" and step.decision.action != "skip" for step in account.steps)
    if not asked or manifest is None or "judge.calls" not in manifest.metrics:
        return
    from zephyrctl.cli import spending

    terminal.say(spending.spent_line(manifest.metrics))


def _next(run: Run, account: Account) -> str:
    """The command that comes next: a chat where everything is done."""
    trained = [name for name in ("dpo", "sft") if run.stage(name).is_finished()]
    if account.report and trained:
        return f"zephyrctl chat {quoted(run.root / trained[0])}"
    return next_command(run, account.steps[-1].stage if account.steps else "eval")


def as_rows(steps: Sequence[Step]) -> list[dict[str, str]]:
    """Steps as they stand in a JSON object."""
    return [
        {"stage": step.stage, "action": step.decision.action, "reason": step.decision.reason}
        for step in steps
    ]
