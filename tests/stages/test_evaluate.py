"""The evaluation stage on real weights and on an endpoint, killed and started again."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.fakes import FakeEndpoint

from zephyrctl.config.layers import load
from zephyrctl.errors import DataError, GateMissed, UsageError
from zephyrctl.runs.store import Run, open_run, write_config
from zephyrctl.runs.summary import summarize
from zephyrctl.stages.evaluate import run as evaluate


def questions(path: Path, count: int) -> Path:
    rows = [
        {"question_id": number, "category": "ab"[number % 2], "turns": [f"Say {number}."],
         "checks": [{"name": "number", "value": number - number % 3 // 2}]}
        for number in range(count)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def make_run(folder: Path, name: str = "r", **flags: Any) -> Run:
    given = {"output_root": str(folder), "name": name, "eval.bootstrap": 200, **flags}
    loaded = load(flags=given, env={}, cwd=folder)
    made = open_run(loaded.recipe)
    write_config(made, loaded)
    return made


def scores_of(run: Run) -> dict[str, Any]:
    return {
        path.relative_to(run.root).as_posix(): json.loads(path.read_text())
        for path in sorted((run.root / "eval").rglob("*.json"))
        if path.name in ("scores.json", "comparisons.json")
    }


def test_models_are_scored_compared_and_summarized(tmp_path: Path, tiny_base: Path) -> None:
    with FakeEndpoint(answer=lambda messages: messages[-1]["content"], model="echo") as server:
        run = make_run(
            tmp_path,
            **{
                "model.base": str(tiny_base),
                "eval.models": ["base", server.spec],
                "eval.rules.questions": str(questions(tmp_path / "q.jsonl", 9)),
                "eval.rules.max_new_tokens": 8,
            },
        )
        result = evaluate(run.recipe(), run)
    summary = summarize(run)
    rates = {s["model"]: s["value"] for s in summary["scores"] if s["metric"] == "pass_rate"}
    assert rates["echo"] == pytest.approx(6 / 9)
    assert rates["base"] <= rates["echo"]
    assert result.metrics["rules.echo.pass_rate"] == rates["echo"]
    (comparison,) = summary["comparisons"]
    assert (comparison["a"], comparison["b"]) == ("base", "echo")
    assert comparison["difference"] == pytest.approx(rates["echo"] - rates["base"])
    assert all(path.exists() for path in result.outputs)
    about = json.loads((run.root / "eval/rules/base/code/scores.json").read_text())["about"]
    assert len(about["template_sha256"]) == 64


def test_a_score_under_the_gate_is_written_and_then_an_error(tmp_path: Path) -> None:
    with FakeEndpoint(model="echo") as server:
        run = make_run(
            tmp_path,
            **{
                "eval.models": [server.spec],
                "eval.rules.questions": str(questions(tmp_path / "q.jsonl", 9)),
                "eval.fail_under": 0.9,
            },
        )
        with pytest.raises(GateMissed, match=r"echo has 0\.6667, under 0\.9"):
            evaluate(run.recipe(), run)
    assert summarize(run)["scores"]


def test_a_model_that_was_not_trained_is_a_usage_error(tmp_path: Path) -> None:
    run = make_run(
        tmp_path,
        **{
            "eval.models": ["dpo"],
            "eval.rules.questions": str(questions(tmp_path / "q.jsonl", 3)),
        },
    )
    with pytest.raises(UsageError, match="dpo"):
        evaluate(run.recipe(), run)


def test_without_questions_the_benchmark_is_left_out_and_said(tmp_path: Path) -> None:
    with FakeEndpoint() as server:
        run = make_run(tmp_path, **{"eval.models": [server.spec]})
        result = evaluate(run.recipe(), run)
    assert result.metrics == {}
    assert "left out" in run.stage("eval").metrics_path.read_text()


def test_a_model_in_another_template_than_its_own_is_refused(
    tmp_path: Path, tiny_base: Path
) -> None:
    from zephyrctl.data import template_lock
    from zephyrctl.data.tokenizers import load_tokenizer

    folder = tmp_path / "trained"
    shutil.copytree(tiny_base, folder)
    tokenizer = load_tokenizer(str(tiny_base), chat_template="zephyr")
    template_lock.write(
        folder, tokenizer=tokenizer, template="zephyr", stage="sft", base="tiny",
        base_digest="0", run="r",
    )  # fmt: skip
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text().replace("<|user|>", "<|human|>") + " ")
    run = make_run(
        tmp_path,
        **{
            "eval.models": [str(folder)],
            "eval.rules.questions": str(questions(tmp_path / "q.jsonl", 3)),
        },
    )
    with pytest.raises(DataError, match="another chat template"):
        evaluate(run.recipe(), run)


def test_a_model_scored_later_is_compared_with_those_scored_before(tmp_path: Path) -> None:
    asked = {"eval.rules.questions": str(questions(tmp_path / "q.jsonl", 9))}
    with FakeEndpoint(model="first", answer=lambda m: "no idea") as first:
        run = make_run(tmp_path, **asked, **{"eval.models": [first.spec]})
        evaluate(run.recipe(), run)
    with FakeEndpoint(model="second") as second:
        run = make_run(tmp_path, **asked, **{"eval.models": [second.spec]})
        evaluate(run.recipe(), run)
    (comparison,) = summarize(run)["comparisons"]
    assert {comparison["a"], comparison["b"]} == {"first", "second"}


def test_answers_of_another_length_are_not_compared_with_those_scored_before(
    tmp_path: Path,
) -> None:
    asked = {"eval.rules.questions": str(questions(tmp_path / "q.jsonl", 9))}
    with FakeEndpoint(model="first") as first, FakeEndpoint(model="second") as second:
        run = make_run(tmp_path, **asked, **{"eval.models": [first.spec]})
        evaluate(run.recipe(), run)
        longer = {"eval.models": [second.spec], "eval.rules.max_new_tokens": 64}
        run = make_run(tmp_path, **asked, **longer)
        evaluate(run.recipe(), run)
    assert summarize(run)["comparisons"] == []


@pytest.mark.e2e
def test_killed_at_any_moment_the_same_command_finishes_with_the_same_scores(
    tmp_path: Path,
) -> None:
    count = 40
    with FakeEndpoint(delay_s=0.03, model="echo") as server:
        flags = {
            "eval.models": [server.spec],
            "eval.rules.questions": str(questions(tmp_path / "q.jsonl", count)),
            "eval.batch_size": 2,
        }
        calm = make_run(tmp_path, "calm", **flags)
        _work(calm)
        expected = scores_of(calm)
        server.requests.clear()
        killed = make_run(tmp_path, "killed", **flags)
        answers = killed.root / "eval/rules/echo/answers.jsonl"
        for lines in (3, 11, 24):
            _kill_after(killed, answers, lines=lines)
        _work(killed)
    assert scores_of(killed) == expected
    keys = [json.loads(line)["key"] for line in answers.read_text().splitlines()]
    assert len(keys) == len(set(keys)) == count
    # Each kill loses at most the two requests under way and what had not reached the disk yet.
    assert count <= len(server.requests) <= count + 3 * 4


def _command(run: Run) -> list[str]:
    return [sys.executable, "-m", "zephyrctl.worker", "--run", str(run.root), "--stage", "eval"]


def _work(run: Run) -> None:
    done = subprocess.run(_command(run), env=_env(), timeout=60, check=False)
    assert done.returncode == 0, (run.root / "eval/logs/rank0.log").read_text()


def _kill_after(run: Run, path: Path, *, lines: int) -> None:
    child = subprocess.Popen(_command(run), env=_env(), start_new_session=True)
    deadline = time.monotonic() + 60
    while not (path.exists() and path.read_bytes().count(b"\n") >= lines):
        assert child.poll() is None, (run.root / "eval/logs/rank0.log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _env() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def test_models_and_a_local_judge_are_in_memory_one_at_a_time(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gc
    import weakref

    from transformers import AutoModelForCausalLM

    loaded: list[weakref.ref[Any]] = []
    alive_at_load: list[int] = []
    load_model = AutoModelForCausalLM.from_pretrained

    def watched(*args: Any, **kwargs: Any) -> Any:
        # Before the collector runs: what is only unreachable still takes the judge's memory.
        alive_at_load.append(sum(model() is not None for model in loaded))
        made = load_model(*args, **kwargs)
        loaded.append(weakref.ref(made[0]))
        return made

    other = tmp_path / "other"
    shutil.copytree(tiny_base, other)
    rows = [{"question_id": n, "category": "writing", "turns": [f"Say {n}."]} for n in range(3)]
    asked = tmp_path / "own.jsonl"
    asked.write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", watched)
    run = make_run(
        tmp_path,
        **{
            "model.base": str(tiny_base),
            "eval.models": ["base", str(other)],
            "eval.benchmarks": ["own"],
            "eval.own.questions": str(asked),
            "eval.own.max_new_tokens": 4,
            "eval.judge.spec": f"local:{tiny_base}",
            "eval.judge.max_tokens": 4,
        },
    )
    gc.disable()
    try:
        with pytest.raises(GateMissed, match="too few verdicts"):
            evaluate(run.recipe(), run)
    finally:
        gc.enable()
    assert alive_at_load == [0, 0, 0]
    assert [model() for model in loaded] == [None] * 3
