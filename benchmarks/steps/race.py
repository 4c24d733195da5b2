"""How are contenders raced fairly on a machine whose speed changes?

In turn, A B C A B C, each in a process that was forked from one that has only imported: ratios are
taken within a round and their median is the result. Every process first measures the machine by a
matrix product, so that a slow moment shows.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from steps import models, racer
from steps.contenders import Contender, Course
from steps.racer import Heat
from steps.rows import Row

PRELOADED = [
    "torch", "datasets", "peft", "trl.trainer.dpo_trainer", "trl.trainer.sft_trainer",
    "trl.scripts.utils", "zephyrctl.training.dpo", "zephyrctl.training.sft",
]  # fmt: skip
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    # Threads that spin while they wait take the time of their neighbours (EXPERIMENTS.md).
    "OMP_WAIT_POLICY": "PASSIVE",
}

Record = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """A race: who, over what, how often."""

    course: Course
    model: str
    contenders: list[Contender]
    rows: list[Row]
    repeats: int
    threads: int
    finish: bool
    time_limit_s: float
    folder: Path


def run(plan: Plan, *, say: Callable[[str], None]) -> dict[str, list[Record]]:
    """The records of every contender, one for each round.

    No second round is begun that would end after the time limit, and what still runs then is
    ended. A contender that breaks (out of memory, say) leaves a record with `error` and does not
    run again.
    """
    os.environ |= {key: os.environ.get(key, value) for key, value in ENVIRONMENT.items()}
    context = get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    start = time.monotonic()
    arguments = {"name": plan.model, "device": plan.course.device}
    build = context.Process(target=models.build, args=(Path(plan.course.base),), kwargs=arguments)
    build.start()
    build.join()
    if build.exitcode:
        raise SystemExit(f"the model {plan.model} could not be made in {plan.course.base}")
    records: dict[str, list[Record]] = {who.label: [] for who in plan.contenders}
    longest = 0.0
    for number in range(plan.repeats):
        began = time.monotonic()
        if number and began - start + longest > plan.time_limit_s:
            say(f"round {number + 1} of {plan.repeats} is left out: the time limit would pass")
            break
        for who in plan.contenders:
            if not any("error" in record for record in records[who.label]):
                left = max(0.0, plan.time_limit_s - (time.monotonic() - start))
                found = _heat(context, plan, who, number=number, limit_s=left)
                records[who.label].append(found)
                say(f"round {number + 1}: {who.label}: {_summary(found)}")
        longest = max(longest, time.monotonic() - began)
    return records


def _heat(context: Any, plan: Plan, who: Contender, *, number: int, limit_s: float) -> Record:
    folder = plan.folder / f"{number}-{who.label}"
    heat = Heat(who, plan.course, plan.rows, folder, plan.threads, plan.finish)
    process = context.Process(target=racer.run, args=(heat,))
    process.start()
    process.join(None if limit_s == float("inf") else limit_s)
    if process.is_alive():
        process.kill()
        process.join()
        return {"error": f"still running after {limit_s:.0f} s"}
    record = _read(folder, code=process.exitcode)
    for name in ("run", "out", "data", "datasets", "cache"):
        shutil.rmtree(folder / name, ignore_errors=True)  # models of 15 GB, on a GPU machine
    return record


def _read(folder: Path, *, code: int | None) -> Record:
    try:
        return json.loads((folder / racer.RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {"error": f"the process ended with code {code}; see {folder / racer.LOG}"}


def _summary(record: Record) -> str:
    if "error" in record:
        return record["error"]
    return f"{sum(record['wall']):.2f} s of steps, {record['whole_s']:.0f} s in all"


def whole(records: Sequence[Record]) -> list[Record]:
    """The records without an error."""
    return [record for record in records if "error" not in record]
