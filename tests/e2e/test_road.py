"""From data to scores with the real command, stopped in every stage and continued."""

import json
from pathlib import Path

import pytest
from tests.e2e.conftest import SHORT, Shell, short_run

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def _records(path: Path) -> list[dict]:
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def _curve(run: Path, stage: str) -> list[tuple]:
    """Every logged step with its loss, in order."""
    return [
        (record["split"], record["step"], record["values"].get("loss"))
        for record in _records(run / stage / "metrics.jsonl")
        if record["kind"] == "metrics"
    ]


def _has_passed(run: Path, stage: str, step: int) -> bool:
    return any(at >= step for split, at, _ in _curve(run, stage) if split == "train")


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _weights(stage: Path) -> bytes:
    return (stage / "model" / "model.safetensors").read_bytes()


def _numbers(metrics: dict) -> dict:
    """Metrics without those that a clock or the machine decides."""
    return {
        name: value
        for name, value in metrics.items()
        if not any(word in name for word in ("second", "memory", "rss", "time", "predict"))
    }


def test_the_summary_has_every_stage_and_the_three_scores(shell: Shell, straight: Path):
    summary = shell.json("runs", "show", str(straight))
    assert set(summary) == {"run", "stages", "scores", "comparisons"}
    assert {stage["state"] for stage in summary["stages"].values()} == {"finished"}
    assert set(summary["stages"]) == {"data", "sft", "dpo", "eval"}
    rates = {
        score["model"]: score
        for score in summary["scores"]
        if score["benchmark"] == "rules" and score["metric"] == "pass_rate"
    }
    assert set(rates) == {"base", "sft", "dpo"}
    assert set(rates["dpo"]) == {
        "benchmark", "model", "judge", "metric", "value", "low", "high", "n",
    }  # fmt: skip
    assert rates["base"]["n"] == SHORT["eval.rules.limit"]
    pairs = [(c["a"], c["b"]) for c in summary["comparisons"]]
    assert pairs == [("base", "sft"), ("sft", "dpo"), ("base", "dpo")]
    assert (straight / "report.html").stat().st_size > 5_000


def test_a_second_start_skips_what_is_finished(shell: Shell, straight: Path):
    before = (straight / "dpo" / "manifest.json").read_bytes()
    result = shell(*short_run("straight"))
    assert (straight / "dpo" / "manifest.json").read_bytes() == before
    assert result.stderr.count("skip") >= 4
    dry = shell.json(*short_run("straight"), "--dry-run", "--set", "dpo.beta=0.2")
    actions = {step["stage"]: step for step in dry["steps"]}
    assert actions["sft"]["action"] == "skip"
    assert actions["dpo"]["action"] == "run"
    assert "dpo.beta 0.1 → 0.2" in actions["dpo"]["reason"]


def test_kill_9_in_every_stage_ends_with_the_numbers_of_a_straight_run(
    shell: Shell, straight: Path
):
    words, run = short_run("killed"), shell.folder / "runs" / "killed"
    shell.kill_when(lambda: _lines(run / "data" / "metrics.jsonl") > 0, *words)
    shell.kill_when(lambda: _has_passed(run, "sft", 5), *words)
    assert not (run / "sft" / "model").exists()
    shell.kill_when(lambda: _has_passed(run, "dpo", 3), *words)
    answers = run / "eval" / "rules" / "sft" / "answers.jsonl"
    shell.kill_when(lambda: _lines(answers) > 2, *words)
    shell(*words)
    for stage in ("sft", "dpo"):
        assert _curve(run, stage) == _curve(straight, stage)
        ours, theirs = (
            json.loads((root / stage / "manifest.json").read_text()) for root in (run, straight)
        )
        assert _numbers(ours["metrics"]) == _numbers(theirs["metrics"])
        assert _weights(run / stage) == _weights(straight / stage)
    ours, theirs = (shell.json("runs", "show", str(root)) for root in (run, straight))
    assert ours["scores"] == theirs["scores"]
    assert ours["comparisons"] == theirs["comparisons"]
    for name in ("base", "sft", "dpo"):
        assert _lines(run / "eval" / "rules" / name / "answers.jsonl") == 24


def test_chat_answers_once_as_json(shell: Shell, straight: Path):
    reply = shell.json("chat", str(straight / "dpo"), "--prompt", "hello", "--seed", "1")
    assert set(reply) == {"model", "messages", "reply", "tokens", "seconds"}
    assert reply["messages"][0] == {"role": "user", "content": "hello"}
    again = shell.json("chat", str(straight / "dpo"), "--prompt", "hello", "--seed", "1")
    assert again["reply"] == reply["reply"]


def test_two_processes_train_as_one(shell: Shell, straight: Path):
    words = ["sft", *short_run("pair")[1:], "--set", "launch.cpu_processes=2"]
    shell(*words)
    one = {key: loss for *key, loss in map(list, _curve(straight, "sft")) for key in [tuple(key)]}
    two = {key: loss for *key, loss in map(list, _curve(straight.parent / "pair", "sft"))
           for key in [tuple(key)]}  # fmt: skip
    assert one.keys() == two.keys()
    for key, loss in two.items():
        assert loss == pytest.approx(one[key], rel=1e-4), key
    logs = {path.name for path in (straight.parent / "pair" / "sft" / "logs").glob("rank*.log")}
    assert logs == {"rank0.log", "rank1.log"}
