"""What a stage will need here: made concrete, refused where too large, kept beside the outcome."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.training.conftest import build_run

from zephyrctl import environment
from zephyrctl.config.schema import Recipe
from zephyrctl.environment import Memory
from zephyrctl.errors import DiskFull, EnvironmentProblem
from zephyrctl.planning import choose
from zephyrctl.runs import manifest
from zephyrctl.runs.atomic import read_jsonl
from zephyrctl.runs.manifest import Result
from zephyrctl.runs.store import Run
from zephyrctl.stages import forecast, sft
from zephyrctl.stages.forecast import Forecast


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> tuple[Recipe, Run]:
    """A run of the tiny base model with prepared data."""
    return build_run(tmp_path_factory.mktemp("forecast") / "run", tiny_base)


def begin(run: Run, stage: Any, **inputs: Any) -> None:
    manifest.begin(run.stage(stage), inputs=inputs, seed=0, world_size=1)


def small_machine(monkeypatch: pytest.MonkeyPatch, available: int) -> None:
    monkeypatch.setattr(environment, "memory", lambda: Memory(2**40, available))
    monkeypatch.setattr(forecast, "resident_bytes", lambda: 2**28)


@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_every_auto_that_memory_decides_is_made_concrete(prepared, stage):
    recipe, run = prepared
    begin(run, stage)
    if stage == "dpo":
        recipe = Recipe.model_validate(
            recipe.model_dump() | {"dpo": recipe.dpo.model_dump() | {"init_from": "base"}}
        )
    found = forecast.make(recipe, run, stage)
    training = getattr(found.recipe, stage)
    assert (training.optimizer, training.gradient_checkpointing) == ("adamw", False)
    # No step of these rows has more tokens than fit into one pass.
    assert isinstance(training.micro_batch_tokens, int)
    assert training.micro_batch_tokens >= 4
    assert found.peak_bytes > forecast.resident_bytes() / 2
    record = json.loads((run.stage(stage).path / forecast.FILE).read_text())
    assert record["predicted_peak_bytes"] == found.peak_bytes
    said = [r["text"] for r in read_jsonl(run.stage(stage).metrics_path) if r["kind"] == "notice"]
    assert any(f"{stage} takes adamw without recomputation" in text for text in said)


def test_a_resumed_stage_keeps_what_its_first_attempt_decided(prepared):
    recipe, run = prepared
    folder = run.stage("sft")
    decided = {"optimizer": "adamw_bf16", "checkpointing": "selective", "micro_batch_tokens": 128}

    def settings() -> tuple[Any, Any, Any]:
        sft = forecast.make(recipe, run, "sft").recipe.sft
        return sft.optimizer, sft.gradient_checkpointing, sft.micro_batch_tokens

    def record() -> None:
        manifested = folder.read_manifest()
        assert manifested is not None
        text = json.dumps({"digest": manifested.digest, **decided})
        (folder.path / forecast.FILE).write_text(text)

    begin(run, "sft", work=1)
    record()
    assert settings()[0] == "adamw"  # nothing was saved
    record()
    (folder.checkpoints / "checkpoint-2").mkdir(parents=True)
    assert settings() == ("adamw_bf16", "selective", 128)
    begin(run, "sft", work=2)  # other work: its checkpoints go
    assert settings()[0] == "adamw"


def test_a_resume_on_a_smaller_device_keeps_the_optimizer_alone(prepared, monkeypatch):
    recipe, run = prepared
    folder = run.stage("sft")
    begin(run, "sft", work=3)
    manifested = folder.read_manifest()
    assert manifested is not None
    decided = {"optimizer": "adamw_bf16", "checkpointing": "none", "micro_batch_tokens": 10**7}
    text = json.dumps({"digest": manifested.digest, **decided})
    (folder.path / forecast.FILE).write_text(text)
    (folder.checkpoints / "checkpoint-2").mkdir(parents=True, exist_ok=True)
    small_machine(monkeypatch, 2**30)
    sft = forecast.make(recipe, run, "sft").recipe.sft
    assert sft.optimizer == "adamw_bf16"
    assert isinstance(sft.micro_batch_tokens, int)
    assert sft.micro_batch_tokens < 10**7


def test_too_little_memory_is_said_before_any_work_with_a_way_out(prepared, monkeypatch):
    recipe, run = prepared
    begin(run, "sft")
    small_machine(monkeypatch, available=2**20)
    values = recipe.model_dump()
    values["sft"] |= {"gradient_checkpointing": False, "optimizer": "adamw"}
    with pytest.raises(EnvironmentProblem, match=r"sft needs ≈ .* on each device, where") as caught:
        forecast.make(Recipe.model_validate(values), run, "sft")
    assert caught.value.exit_code == 3
    assert caught.value.hint


def test_less_memory_recomputes_before_it_refuses(prepared, monkeypatch):
    recipe, run = prepared
    begin(run, "sft")
    small_machine(monkeypatch, available=2**40)
    whole = forecast.make(recipe, run, "sft")
    needed = whole.peak_bytes / choose.USABLE - 2**28  # beside what the process holds
    small_machine(monkeypatch, available=round(needed - 2**18))
    less = forecast.make(recipe, run, "sft")
    assert less.peak_bytes < whole.peak_bytes
    limits = (less.recipe.sft.micro_batch_tokens, less.recipe.sft.gradient_checkpointing)
    assert limits != (whole.recipe.sft.micro_batch_tokens, False)


def test_too_little_disk_is_its_own_error(prepared, monkeypatch):
    recipe, run = prepared
    begin(run, "sft")
    monkeypatch.setattr(environment, "free_disk", lambda path: 2**20)
    with pytest.raises(DiskFull) as caught:
        forecast.make(recipe, run, "sft")
    assert caught.value.exit_code == 73
    assert "keep_checkpoints=1" in caught.value.hint


def test_prediction_and_measurement_stand_side_by_side(prepared):
    recipe, run = prepared
    begin(run, "sft")
    result = Result({"peak_memory_bytes": 2**30, "train_seconds": 50.0}, [])
    made = Forecast(recipe, peak_bytes=0.9 * 2**30, seconds=60.0)
    metrics = forecast.compared(made, result, run.stage("sft")).metrics
    assert metrics["predicted_peak_bytes"] == 0.9 * 2**30
    assert metrics["predicted_seconds"] == 60.0
    assert metrics["peak_prediction_error"] == pytest.approx(-0.1)
    assert metrics["seconds_prediction_error"] == pytest.approx(0.2)
    notice = read_jsonl(run.stage("sft").metrics_path)[-1]["text"]
    assert notice == (
        "memory 922 MiB predicted, 1 GiB measured (-10%); time 60 s predicted, 50 s measured (+20%)"
    )
    assert forecast.compared(Forecast(recipe), result, run.stage("sft")) == result


def test_a_model_of_unknown_sizes_is_trained_without_a_prediction(prepared, tmp_path):
    recipe, run = prepared
    begin(run, "sft")
    (tmp_path / "config.json").write_text('{"model_type": "mamba"}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    other = recipe.model_dump() | {"model": recipe.model.model_dump() | {"base": str(tmp_path)}}
    found = forecast.make(Recipe.model_validate(other), run, "sft")
    assert found.peak_bytes is None
    assert found.recipe.sft.optimizer == "auto"
    assert "cannot be predicted" in found.notices[0]


@pytest.mark.train
def test_a_trained_stage_reports_both(tiny_base, tmp_path):
    recipe, run = build_run(tmp_path / "run", tiny_base, sft={"max_steps": 2})
    begin(run, "sft")
    result = sft.run(recipe, run)
    assert result.metrics["predicted_peak_bytes"] > 0
    error = result.metrics["predicted_peak_bytes"] / result.metrics["peak_memory_bytes"] - 1
    assert result.metrics["peak_prediction_error"] == pytest.approx(error)
    said = [r["text"] for r in read_jsonl(run.stage("sft").metrics_path) if r["kind"] == "notice"]
    assert any("predicted" in text and "measured" in text for text in said)
    assert any("sft takes adamw" in text for text in said)
