"""Several processes answer one benchmark: each question once, and the same scores as by one."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from tests.fakes import FakeEndpoint

from zephyrctl.config.layers import load
from zephyrctl.config.schema.launch import Launch
from zephyrctl.launch.local import start
from zephyrctl.launch.plan import Host, LaunchPlan, plan_launch
from zephyrctl.runs.metrics import read_stream
from zephyrctl.runs.store import Run, open_run, write_config
from zephyrctl.stages.evaluate import run as evaluate

pytestmark = pytest.mark.e2e


def make_run(folder: Path, name: str, model: str, **flags: Any) -> Run:
    """A run on 12 questions of two turns, four of them alike."""
    rows = [
        {"question_id": n, "category": "ab"[n % 2], "checks": ["stopped"],
         "turns": [f"Say {min(n, 8)} slowly.", "Once more."]}
        for n in range(12)
    ]  # fmt: skip
    path = folder / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = {
        "output_root": str(folder), "name": name, "eval.bootstrap": 200, "eval.models": [model],
        "eval.rules.questions": str(path), "eval.rules.max_new_tokens": 6, "eval.batch_size": 2,
        "launch.gpus": "none", **flags,
    }  # fmt: skip
    loaded = load(flags=given, env={}, cwd=folder)
    made = open_run(loaded.recipe)
    write_config(made, loaded)
    return made


def plan(run: Run, processes: int) -> LaunchPlan:
    settings = Launch(cpu_processes=processes, gpus="none", grace_s=10.0)
    return plan_launch(
        run, "eval", settings, host=Host([], cores=processes, env_names=("OMP_NUM_THREADS",))
    )


def rows_of(run: Run) -> dict[str, dict[str, Any]]:
    """The rows of the only model by their keys, without how long they took."""
    (path,) = run.root.glob("eval/rules/*/answers*.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len({row["key"] for row in rows}) == len(rows)
    return {row.pop("key"): {**row, "seconds": 0} for row in rows}


def scores_of(run: Run) -> list[Any]:
    return [json.loads(p.read_text())["scores"] for p in run.root.glob("eval/**/scores.json")]


def test_two_processes_give_the_answers_and_scores_of_one(tmp_path: Path, tiny_base: Path) -> None:
    alone = make_run(tmp_path, "alone", "base", **{"model.base": str(tiny_base)})
    evaluate(alone.recipe(), alone)
    shared = make_run(tmp_path, "shared", "base", **{"model.base": str(tiny_base)})
    start(plan(shared, 2), Launch())
    rows = rows_of(shared)
    assert len(rows) == 9 * 2
    wanted = rows_of(alone)
    # Which of four questions with equal prompts a row names depends on who asked first.
    for found in (*rows.values(), *wanted.values()):
        found["question_id"] = min(found["question_id"], 8)
    assert rows == wanted
    assert scores_of(shared) == scores_of(alone)
    assert "rank 1" in (shared.root / "eval/logs/rank1.log").read_text()
    records, _ = read_stream(shared.stage("eval").metrics_path)
    told = [r for r in records if r["kind"] == "progress" and "answers of base" in r["task"]]
    assert [told[-1]["done"], told[-1]["total"]] == [24, 24]
    shown = [r["text"] for r in records if r["kind"] == "notice" and "first prompt" in r["text"]]
    assert len(shown) == 1
    assert re.search(r"<\|user\|>\\nSay \d slowly\.</s>", shown[0])


def test_killed_two_processes_leave_each_answer_once_to_however_many_go_on(tmp_path: Path) -> None:
    with FakeEndpoint(delay_s=0.15, model="echo") as server:
        run = make_run(tmp_path, "killed", server.spec)
        first = _kill_when_rows(run, plan(run, 2), rows=6)
        assert sorted(path.name for path in first) == ["answers.rank0.jsonl", "answers.rank1.jsonl"]
        asked_before = len(server.requests)
        evaluate(run.recipe(), run)
        rows = rows_of(run)
    assert len(rows) == 18
    # At most the four requests under way, and what had not reached the disk yet, are asked again.
    assert asked_before >= 6
    assert 18 <= len(server.requests) <= 18 + 8


def _kill_when_rows(run: Run, launch: LaunchPlan, *, rows: int) -> list[Path]:
    """Start, and kill -9 every process once so many answers stand; returns the answers' files."""
    child = subprocess.Popen(
        launch.argv, env={**os.environ, **launch.env}, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    files: list[Path] = []
    while sum(path.read_bytes().count(b"\n") for path in files) < rows or len(files) < 2:
        assert child.poll() is None, (run.root / "eval/logs/rank0.log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.01)
        files = list(run.root.glob("eval/rules/*/answers*.jsonl"))
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    time.sleep(0.3)  # the ranks die with torchrun, each in its own session
    return files
