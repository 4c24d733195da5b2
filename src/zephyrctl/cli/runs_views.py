"""What do the commands on runs print?"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import typer

from zephyrctl import terminal
from zephyrctl.config.layers import load
from zephyrctl.errors import Interrupted, UsageError, quoted
from zephyrctl.reports.numbers import duration, number
from zephyrctl.reports.progress import Viewer, choose_mode
from zephyrctl.reports.tables import aligned, results_lines
from zephyrctl.runs import atomic, verdict
from zephyrctl.runs.atomic import read_jsonl
from zephyrctl.runs.score_files import read_score_files
from zephyrctl.runs.store import (
    STAGES,
    Run,
    StageName,
    at_work,
    find_run,
    last_touched,
    list_runs,
    lock,
    lock_holder,
)
from zephyrctl.runs.summary import stage_states, summarize
from zephyrctl.stages.inputs import flatten

_WATCH_POLL_S = 0.2
_NOT_COMPARED = ("name", "output_root", "extends")


def root_of(given: Path | None) -> Path:
    """The folder of the runs: as given, else what `zephyr.yaml` or the environment says."""
    if given is not None:
        return given.expanduser()
    return Path(load().recipe.output_root).expanduser()


def find(ref: str, output_root: Path | None) -> Run:
    """The run that is meant."""
    return find_run(ref, output_root=root_of(output_root))


def run_rows(root: Path) -> list[dict[str, Any]]:
    """One object per run: name, path, last touch, state of each stage, who works on it."""
    return [
        {
            "run": run.name,
            "path": str(run.root),
            "touched": last_touched(run),
            "stages": {name: state["state"] for name, state in stage_states(run).items()},
            "in_use": at_work(run),
        }
        for run in list_runs(root)
    ]


def run_lines(root: Path) -> list[str]:
    """The runs as a table; nothing where there is none."""
    rows = [
        (
            row["run"],
            row["touched"][:16].replace("T", " "),
            "  ".join(f"{name} {state}" for name, state in row["stages"].items()) or "nothing yet",
            "in use" if row["in_use"] else "",
        )
        for row in run_rows(root)
    ]
    return [line.rstrip() for line in aligned(rows, left=(0, 1, 2, 3))] if rows else []


def show_lines(run: Run, *, samples: bool) -> list[str]:
    """Stages with their final metrics, then the results, then samples where asked for."""
    summary = summarize(run, counted=True)
    lines = [f"run {run.name}    {run.root}"]
    worker = at_work(run)
    if worker:
        by = f"process {worker['pid']}: " if "pid" in worker else ""
        lines.append(f"in use by {by}{worker.get('purpose')}")
    for name, state in summary["stages"].items():
        lines.append(f"{name:<5} {state['state']:<9} {duration(state['seconds'])}")
        lines += [f"      {key}  {_shown(value)}" for key, value in _numbers(state["metrics"])]
        told = verdict.lines(verdict.from_metrics(state["metrics"]))
        lines += [f"      {terminal.safe(line)}" for line in told]
    lines += results_lines(summary, read_score_files(run))
    return lines + (_sample_lines(run) if samples else [])


def sample_rows(run: Run) -> list[dict[str, Any]]:
    """The sample answers of sft and dpo, each record with its stage."""
    stages: tuple[StageName, ...] = ("sft", "dpo")
    return [
        {"stage": name, **record}
        for name in stages
        for record in read_jsonl(run.stage(name).samples_path)
    ]


def log_lines(
    run: Run, *, stage: StageName | None, rank: int | None, last: int | None
) -> Iterator[str]:
    """The logs of a stage, each under its file's name where there are several."""
    chosen = run.stage(stage or _last_stage(run))
    pattern = "*.log" if rank is None else f"rank{rank}.log"
    paths = sorted(chosen.logs.glob(pattern))
    if not paths:
        raise UsageError(
            f"{chosen.name} has no log" + ("" if rank is None else f" of rank {rank}"),
            where=str(chosen.logs),
            hint=f"zephyrctl runs logs {quoted(run.root)}",
        )
    for path in paths:
        if len(paths) > 1:
            yield f"==> {path.name} <=="
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        yield from lines[-last:] if last else lines


def remove(runs: Sequence[Run], *, ask: bool) -> list[Run]:
    """Remove runs, holding the lock of each; asks first where somebody can answer."""
    for run in runs:
        if lock_holder(run):
            with lock(run, purpose="zephyrctl runs rm"):
                pass  # raises the error that names the holder
        if job := at_work(run):
            raise UsageError(
                f"run '{run.name}' is in use by {job['purpose']}, whose end nobody saw",
                where=str(run.root),
                hint=f"scancel {job.get('job')}; then the command that submitted it, once more",
            )
    if ask:
        _confirm_removal(runs)
    for run in runs:
        with lock(run, purpose="zephyrctl runs rm"):
            atomic.remove(run.root)  # of a link, the link itself
        terminal.say(f"removed {run.root}")
    return list(runs)


def comparison(a: Run, b: Run) -> dict[str, Any]:
    """Differing settings, final metrics and scores of two runs, side by side."""
    summaries = (summarize(a), summarize(b))
    settings = [flatten("", run.recipe().model_dump(mode="json")) for run in (a, b)]
    return {
        "a": a.name,
        "b": b.name,
        "settings": [
            {"key": key.lstrip("."), "a": settings[0].get(key), "b": settings[1].get(key)}
            for key in dict.fromkeys([*settings[0], *settings[1]])
            if settings[0].get(key) != settings[1].get(key) and key.lstrip(".") not in _NOT_COMPARED
        ],
        "metrics": _side_by_side(*(_metric_values(summary) for summary in summaries)),
        "scores": _side_by_side(*(_score_values(summary) for summary in summaries)),
    }


def comparison_lines(compared: dict[str, Any]) -> list[str]:
    """What differs, as a table: settings, metrics, scores; then how much is equal."""
    rows = [("", compared["a"], compared["b"])]
    equal = 0
    for part in ("settings", "metrics", "scores"):
        for row in compared[part]:
            if row["a"] == row["b"]:
                equal += 1
            else:
                rows.append((row["key"], _shown(row["a"]), _shown(row["b"])))
    return [*aligned(rows, left=(0,)), f"{equal} metrics and scores are equal"]


def watch(run: Run, *, stage: StageName | None, progress: str | None) -> None:
    """Show a run as it goes on, stage after stage, until nobody works on it."""
    mode = choose_mode(progress)
    current = stage or _last_stage(run)
    try:
        while True:
            _watch_stage(run, current, mode)
            following = _last_stage(run)
            if stage is not None or at_work(run) is None or following == current:
                return
            current = following
    except KeyboardInterrupt:
        raise Interrupted("stopped watching; the run itself goes on") from None


def _watch_stage(run: Run, stage: StageName, mode: Any) -> None:
    """Until the stage ended, or nobody works on the run, or the next stage began."""
    with Viewer(run, stage, mode, replay=True) as viewer:
        while at_work(run) is not None:
            viewer.poll()
            manifest = run.stage(stage).read_manifest()
            if manifest is not None and manifest.state != "running" and _last_stage(run) != stage:
                return
            time.sleep(_WATCH_POLL_S)


def _last_stage(run: Run) -> StageName:
    """The stage that began last; `data` in a run where none did."""
    began: dict[StageName, str] = {
        name: manifest.attempt_started
        for name in STAGES
        if (manifest := run.stage(name).read_manifest()) is not None
    }
    return max(began, key=lambda name: began[name]) if began else "data"


def _confirm_removal(runs: Sequence[Run]) -> None:
    names = ", ".join(str(run.root) for run in runs)
    if not terminal.is_tty(sys.stdin):
        raise UsageError(f"not removing {names} without --yes", hint="zephyrctl runs rm REF --yes")
    if not typer.confirm(terminal.safe(f"Remove {names} with everything in it?"), err=True):
        raise Interrupted("nothing was removed")


def _sample_lines(run: Run) -> list[str]:
    lines: list[str] = []
    for record in sample_rows(run):
        head = " ".join(
            f"{key} {record[key]}" for key in ("stage", "step") if record.get(key) is not None
        )
        lines += ["", head]
        lines += [f"  {key}: {value}" for key, value in record.items() if key not in head.split()]
    return lines


def _metric_values(summary: dict[str, Any]) -> dict[str, float]:
    return {
        f"{stage} {key}": value
        for stage, state in summary["stages"].items()
        for key, value in _numbers(state["metrics"])
    }


def _score_values(summary: dict[str, Any]) -> dict[str, float]:
    return {
        " ".join(filter(None, (s["benchmark"], s["model"], s["judge"], s["metric"]))): s["value"]
        for s in summary["scores"]
    }


def _side_by_side(a: dict[str, float], b: dict[str, float]) -> list[dict[str, Any]]:
    return [{"key": key, "a": a.get(key), "b": b.get(key)} for key in dict.fromkeys([*a, *b])]


def _numbers(metrics: dict[str, Any]) -> list[tuple[str, float]]:
    return [
        (key, value)
        for key, value in metrics.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    return number(value) if isinstance(value, float) else str(value)
