"""A whole run that is killed in every stage ends with the numbers of one that was not."""

import json
from pathlib import Path

import pytest
from tests.e2e.conftest import Shell, shell, short_run, straight
from tests.e2e.test_road import _curve

__all__ = ["shell", "straight"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


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
