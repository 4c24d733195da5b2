"""Drills 6, 12 and 13: training that goes on by itself, in less memory, or with other settings."""

import json
from typing import Any

import pytest
from tests.drills.conftest import (
    PAIR,
    Yard,
    checkpoints,
    curve,
    manifest_of,
    outcome,
    stage_of,
)

from zephyrctl.runs.atomic import read_jsonl

pytestmark = [pytest.mark.e2e, pytest.mark.train, pytest.mark.timeout(600)]


def test_06_after_a_kill_with_progress_the_command_goes_on_by_itself(
    yard: Yard, prepared: str, straight_sft: str
) -> None:
    stage = yard.copy(prepared, "self-healed").stage("sft")
    done = yard.does(
        "sft", "self-healed", sets={"launch.max_restarts": 2}, fault="step=7:kill", once=True
    )
    assert outcome(stage) == outcome(stage_of(yard, straight_sft, "sft"))
    assert manifest_of(stage).attempts == 2
    restarted = [r for r in read_jsonl(stage.events_path) if r["event"] == "restarted"]
    assert len(restarted) == 1
    assert "SIGKILL" in json.dumps(restarted[0])
    assert [text for text in manifest_of(stage).notices if "checkpoint-6" in text]
    assert "checkpoint-6" in done.stderr


def test_12_out_of_memory_halves_the_micro_batch_and_keeps_the_effective_batch(
    yard: Yard, prepared: str
) -> None:
    """Without noise, which is drawn for whole passes: smaller ones get other noise."""
    plain = {"sft.neftune_alpha": "null"}
    straight = yard.copy(prepared, "roomy").stage("sft")
    yard.does("sft", "roomy", sets=plain)
    stage = yard.copy(prepared, "oom").stage("sft")
    sets = {**plain, "launch.max_restarts": 2}
    yard.does("sft", "oom", sets=sets, fault="step=7:oom", once=True)
    ours, theirs = manifest_of(stage).metrics, manifest_of(straight).metrics
    assert ours["micro_batch_tokens"] <= theirs["micro_batch_tokens"] / 2 + 1
    assert ours["accumulation_steps"] >= 2 * theirs["accumulation_steps"]
    for same in ("steps", "examples", "tokens", "epochs"):
        assert ours[same] == theirs[same]
    assert [text for text in manifest_of(stage).notices if "micro_batch" in text]
    resumed = [r.get("step") for r in read_jsonl(stage.events_path) if r["event"] == "resumed"]
    assert 6 in resumed
    for (split, step, loss), (other, at, expected) in zip(
        curve(stage), curve(straight), strict=True
    ):
        assert (split, step) == (other, at)
        assert loss == pytest.approx(expected, abs=1e-4)
    before = [entry for entry in curve(stage) if entry[1] <= 6]
    assert before == [entry for entry in curve(straight) if entry[1] <= 6]


def test_13_changed_settings_are_refused_with_a_diff_and_allowed_by_name(
    yard: Yard, prepared: str
) -> None:
    stage = yard.copy(prepared, "altered").stage("sft")
    yard.does("sft", "altered", fault="step=4:kill", code=1)
    before = manifest_of(stage)
    changes: dict[str, dict[str, Any]] = {
        "sft.learning_rate": {"sft.learning_rate": 1e-3},
        "sft.global_batch_size": {"sft.global_batch_size": 16},
        "world_size": PAIR,
        "data": {"data.sft.test_size": 0.1},
    }
    for field, sets in changes.items():
        error = yard.error("sft", "altered", sets=sets, code=2)
        assert field in json.dumps(error), field
        assert "--allow-change" in json.dumps(error), field
        assert checkpoints(stage) == ["checkpoint-3"]
        assert manifest_of(stage).inputs == before.inputs
        assert manifest_of(stage).attempts == 1
    # The data was prepared anew for the last one, and comes back with the settings before it.
    sets = {"sft.learning_rate": 1e-3}
    yard.does("sft", "altered", "--allow-change", "sft.learning_rate", sets=sets)
    manifest = manifest_of(stage)
    assert manifest.state == "finished"
    assert "sft.learning_rate" in json.dumps(manifest.model_dump()["allowed_changes"])
    rates = {r["step"]: r["values"]["learning_rate"] for r in read_jsonl(stage.metrics_path)
             if r["kind"] == "metrics" and "learning_rate" in r["values"]}  # fmt: skip
    assert max(rate for step, rate in rates.items() if step > 3) <= 1e-3
