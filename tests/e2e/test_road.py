"""From data to scores with the real command. Kills in every stage are in tests/drills."""

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


def test_chat_answers_once_as_json(shell: Shell, straight: Path):
    reply = shell.json("chat", str(straight / "dpo"), "--prompt", "hello", "--seed", "1")
    assert {"model", "seed", "prompt_tokens", "tokens", "finish_reason"} <= set(reply)
    assert reply["messages"][0] == {"role": "user", "content": "hello"}
    again = shell.json("chat", str(straight / "dpo"), "--prompt", "hello", "--seed", "1")
    assert again["reply"] == reply["reply"]
