"""A whole run that is killed in every stage, or trained by two processes, has the same numbers."""

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
