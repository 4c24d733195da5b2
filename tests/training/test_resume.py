"""Killed, corrupted, stopped, diverged: what a stage does afterwards."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.training.conftest import build_run

from zephyrctl import environment
from zephyrctl.runs.atomic import read_jsonl
from zephyrctl.runs.digests import digest_file
from zephyrctl.runs.store import StageDir

pytestmark = pytest.mark.train

# Dropout, so that random states matter; two checkpoints kept; eight steps.
SFT: dict[str, Any] = {
    "epochs": 4,
    "save_every": 2,
    "log_every": 3,
    "sample_prompts": 1,
    "adapter": {"type": "lora", "r": 4, "dropout": 0.2},
}
TIMINGS = ("seconds", "per_second", "peak_memory", "predict")


def train_losses(stage: StageDir) -> list[tuple[int, str, float]]:
    """(step, split, loss) of every record, in file order."""
    return [
        (r["step"], r["split"], r["values"]["loss"])
        for r in read_jsonl(stage.metrics_path)
        if r["kind"] == "metrics"
    ]


def outcome(stage: StageDir) -> dict[str, Any]:
    """What must not depend on how often the stage was interrupted."""
    manifest = stage.read_manifest()
    assert manifest is not None
    assert manifest.state == "finished"
    metrics = {k: v for k, v in manifest.metrics.items() if not any(t in k for t in TIMINGS)}
    weights = digest_file(next(stage.model.glob("*model.safetensors")))
    path = stage.samples_path
    samples = path.read_text(encoding="utf-8") if path.exists() else None
    return {
        "metrics": metrics,
        "losses": train_losses(stage),
        "weights": weights,
        "samples": samples,
    }


@pytest.fixture(scope="module")
def straight(
    tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, drill: Any
) -> dict[str, Any]:
    """The outcome without any interruption."""
    _, run = build_run(tmp_path_factory.mktemp("straight") / "straight", tiny_base, sft=SFT)
    assert drill(run, "sft") == [0]
    return outcome(run.stage("sft"))


def test_a_run_killed_twice_ends_like_an_uninterrupted_one(
    make_run: Any, drill: Any, straight: dict[str, Any]
) -> None:
    _, run = make_run("killed", sft=SFT)
    stage = run.stage("sft")

    assert drill(run, "sft", fault="step=5:kill") == [-9]
    assert drill(run, "sft", fault="save=6:kill") == [-9]  # written, but not committed
    assert (stage.checkpoints / "checkpoint-6.partial").exists()
    assert stage.newest_checkpoint() == 4
    assert drill(run, "sft") == [0]

    assert outcome(stage) == straight
    said = (stage.read_manifest() or pytest.fail("no manifest")).notices
    assert any("checkpoint-6.partial: it was never finished" in text for text in said)


def test_a_kill_after_publishing_loses_no_training(
    make_run: Any, drill: Any, straight: dict[str, Any]
) -> None:
    _, run = make_run("published", sft=SFT)
    stage = run.stage("sft")

    assert drill(run, "sft", fault="finish=0:kill") == [-9]
    assert stage.model.exists()
    assert stage.newest_checkpoint() == 8  # the manifest does not say yet what the model is
    assert drill(run, "sft") == [0]

    resumed = [r.get("step") for r in read_jsonl(stage.events_path) if r["event"] == "resumed"]
    assert 8 in resumed
    assert outcome(stage) == straight
    assert not stage.checkpoints.exists()


def test_a_damaged_checkpoint_is_passed_over(
    make_run: Any, drill: Any, straight: dict[str, Any]
) -> None:
    _, run = make_run("damaged", sft=SFT)
    stage = run.stage("sft")
    drill(run, "sft", fault="step=5:kill")
    flip_a_byte(stage.checkpoints / "checkpoint-4" / "optimizer.pt")

    assert drill(run, "sft") == [0]

    assert outcome(stage) == straight
    said = (stage.read_manifest() or pytest.fail("no manifest")).notices
    assert any("optimizer.pt has changed; going on from checkpoint-2" in text for text in said)


def test_no_intact_checkpoint_is_an_error_and_nothing_is_thrown_away(
    make_run: Any, drill: Any
) -> None:
    _, run = make_run("lost", sft=SFT)
    stage = run.stage("sft")
    drill(run, "sft", fault="step=3:kill")
    (stage.checkpoints / "checkpoint-2" / "scheduler.pt").unlink()

    assert drill(run, "sft") == [77]

    assert "scheduler.pt is missing" in error_of(stage)["message"]
    assert (stage.checkpoints / "checkpoint-2").is_dir()


def test_a_request_to_stop_saves_and_the_same_command_goes_on(
    make_run: Any, drill: Any, straight: dict[str, Any]
) -> None:
    _, run = make_run("stopped", sft=SFT)
    stage = run.stage("sft")

    assert drill(run, "sft", fault="step=3:term") == [75]

    assert "checkpoint-3 stands" in error_of(stage)["message"]
    assert not stage.model.exists()
    assert drill(run, "sft") == [0]
    assert outcome(stage)["weights"] == straight["weights"]
    assert outcome(stage)["losses"] == straight["losses"]


def test_weights_that_become_nan_end_the_stage_before_the_next_update(
    make_run: Any, drill: Any
) -> None:
    _, run = make_run("nan", sft=SFT | {"adapter": {"type": "none"}})
    stage = run.stage("sft")

    assert drill(run, "sft", fault="step=3:nan") == [6]

    error = error_of(stage)
    assert "not finite at step 4" in error["message"]
    assert "checkpoint-2" in error["hint"]
    assert len(json.loads(Path(error["where"]).read_text())["rows"]) == 4
    assert [step for step, split, _ in train_losses(stage) if split == "train"] == [3]


@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_two_processes_take_the_same_steps_as_one(make_run: Any, drill: Any, stage: str) -> None:
    settings = {"sft": {"epochs": 2}, "dpo": {"init_from": "base", "epochs": 2}}
    _, one = make_run("one", **settings)
    _, two = make_run("two", **settings)

    assert drill(one, stage) == [0]
    # Two processes also share the work of the reference's log-probs, if no cache holds them.
    shutil.rmtree(environment.cache_root() / "reference", ignore_errors=True)
    assert drill(two, stage, ranks=2) == [0, 0]

    alone, shared = (train_losses(run.stage(stage)) for run in (one, two))
    assert [entry[:2] for entry in alone] == [entry[:2] for entry in shared]
    for (_, _, expected), (_, _, loss) in zip(alone, shared, strict=True):
        assert loss == pytest.approx(expected, abs=1e-5)
    metrics = [run.stage(stage).read_manifest().metrics for run in (one, two)]
    assert metrics[0]["tokens"] == metrics[1]["tokens"]


def flip_a_byte(path: Path) -> None:
    """Change one byte in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def error_of(stage: StageDir) -> dict[str, Any]:
    """The error that ended the last attempt."""
    manifest = stage.read_manifest()
    assert manifest is not None
    assert manifest.error is not None
    return manifest.error
