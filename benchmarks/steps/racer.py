"""What does one contender do, in a process of its own?

It lays out the rows as the contender wants them, attaches the stopwatch, and runs TRL's script or
the worker of our stage. What it measured is left in `record.json` in its folder.
"""

import json
import os
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from steps.contenders import Contender, Course, batch_of, trl_arguments
from steps.rows import Row

RECORD, LOG = "record.json", "log.txt"


@dataclass(frozen=True)
class Heat:
    """One run of one contender."""

    who: Contender
    course: Course
    rows: list[Row]
    folder: Path
    threads: int
    finish: bool
    """Whether the contender goes on after its last step: to save and publish its model."""


def run(heat: Heat) -> None:
    """Run to the end and leave a record; what breaks is in the log and in the record."""
    heat.folder.mkdir(parents=True)
    _redirect_output(heat.folder / LOG)
    os.environ |= {
        "OMP_NUM_THREADS": str(heat.threads),
        # No contender finds what an earlier one has computed.
        "ZEPHYRCTL_CACHE": str(heat.folder / "cache"),
    }
    try:
        record = _run(heat)
    except BaseException as error:
        traceback.print_exc()
        record = {"error": _in_a_line(error)}
    (heat.folder / RECORD).write_text(json.dumps(record), encoding="utf-8")


def _run(heat: Heat) -> dict[str, Any]:
    import datasets
    import torch

    from steps import layout, machine, stopwatch

    torch.set_num_threads(heat.threads)
    # The module has read its environment long ago.
    datasets.config.HF_DATASETS_CACHE = heat.folder / "datasets"
    datasets.disable_progress_bars()
    rate = machine.matmul_rate(heat.course.device)
    prepared = layout.prepare_run(heat.folder / "run", heat.who, heat.course, heat.rows)
    rows = layout.ordered(prepared, heat.course, by_length=heat.who.is_sorted)
    steps = layout.steps_of(rows, size=batch_of(heat.who, heat.course))
    record = stopwatch.attach(stop_after_steps=not heat.finish)
    own: dict[str, Any] = {}
    start = time.perf_counter()
    with machine.GpuLog(heat.course.device) as gpu:
        try:
            own = _ours(heat) if heat.who.is_ours else _trl(heat, rows)
        except stopwatch.Measured:
            own = _said(heat) if heat.who.is_ours else {}
    return {
        **asdict(record),
        "steps": [asdict(step) for step in steps],
        "matmul_flops": rate,
        "whole_s": time.perf_counter() - start,
        "gpu_log": gpu.summary,
        "machine": machine.facts(),
        **own,
    }


def _ours(heat: Heat) -> dict[str, Any]:
    """The worker of the stage, as the command starts it."""
    from zephyrctl import worker
    from zephyrctl.runs.store import Run

    stage = Run(heat.folder / "run").stage(heat.course.stage)
    arguments = ["--run", str(heat.folder / "run"), "--stage", heat.course.stage]
    if worker.main(arguments):
        report = json.loads(worker.error_path(stage, 0).read_text(encoding="utf-8"))
        raise RuntimeError(report["error"]["message"])
    return _said(heat)


def _said(heat: Heat) -> dict[str, Any]:
    """What our stage said: which kernels ran, what it fell back from, and its forecast."""
    from zephyrctl.runs.atomic import read_jsonl
    from zephyrctl.runs.store import Run
    from zephyrctl.stages import forecast

    stage = Run(heat.folder / "run").stage(heat.course.stage)
    notices = [r["text"] for r in read_jsonl(stage.metrics_path) if r["kind"] == "notice"]
    expected = json.loads((stage.path / forecast.FILE).read_text(encoding="utf-8"))
    return {"notices": notices, "forecast": expected}


def _trl(heat: Heat, rows: Any) -> dict[str, Any]:
    """TRL's own script, behind its own parser."""
    from importlib import import_module

    from steps import layout

    data = heat.folder / "data"
    layout.write_for_trl(data, rows, stage=heat.course.stage)
    line = trl_arguments(heat.who, heat.course, data=data, output=heat.folder / "out")
    script = import_module(f"trl.scripts.{heat.course.stage}")
    script.main(*script.make_parser().parse_args_and_config(line, fail_with_unknown_args=False))
    return {}


def _redirect_output(log: Path) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _in_a_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return f"{type(error).__name__}: {text.splitlines()[0]}"
