"""Drills 15 to 18: preference training on the wrong model, standing still, or killed."""

import json
import math
import shutil
import time
from pathlib import Path

import pytest
from tests.drills.conftest import (
    PAIR,
    Yard,
    checkpoints,
    curve,
    leftovers,
    manifest_of,
    outcome,
    stage_of,
)

from zephyrctl.runs.atomic import read_jsonl

pytestmark = [pytest.mark.e2e, pytest.mark.train, pytest.mark.timeout(600)]

LORA = {"sft.adapter.type": "lora", "sft.adapter.r": 4}


def test_15_another_model_than_sft_made_is_refused_before_it_is_loaded(
    yard: Yard, straight_sft: str
) -> None:
    run = yard.copy(straight_sft, "swapped")
    weights = run.stage("sft").model / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    error = yard.error("dpo", "swapped", code=2)
    assert "sft" in error["message"]
    assert "model" in error["message"]
    assert str(run.stage("sft").model) in str(error["where"])
    assert curve(run.stage("dpo")) == []

    shutil.rmtree(run.stage("sft").model)
    assert "sft" in yard.error("dpo", "swapped", code=2)["message"]
    assert not run.stage("dpo").model.exists()


def test_15_an_adapter_on_another_base_is_refused_before_it_is_loaded(
    yard: Yard, prepared: str, straight_sft: str
) -> None:
    run = yard.copy(prepared, "adapted")
    yard.does("sft", "adapted", sets={**LORA, "sft.max_steps": 1})
    adapter = run.stage("sft").model
    other = stage_of(yard, straight_sft, "sft").model
    config = adapter / "adapter_config.json"
    settings = json.loads(config.read_text())
    config.write_text(json.dumps({**settings, "base_model_name_or_path": str(other)}))
    moved = shutil.copytree(adapter, yard.folder / "moved-adapter")

    error = yard.error("dpo", "adapted", code=2, sets={"dpo.init_from": str(moved)})

    assert error["kind"] == "data"
    assert "other weights" in error["message"]
    assert str(moved) in str(error["where"])
    assert curve(run.stage("dpo")) == []


def test_16_a_rank_that_stands_still_ends_with_exit_78_and_the_stacks_of_all(
    yard: Yard, straight_sft: str
) -> None:
    stage = yard.copy(straight_sft, "hung").stage("dpo")
    sets = {**PAIR, "launch.hang_after_s": 5, "launch.grace_s": 5}
    error = yard.error("dpo", "hung", sets=sets, fault="step=3@1:hang", code=78)
    assert error["kind"] == "hang"
    steps = [r for r in read_jsonl(stage.metrics_path) if r["kind"] == "metrics"]
    assert time.time() - steps[-1]["t"] < 60  # 5 s without a step, stacks, and the end of it all
    for rank in range(2):
        (stacks,) = stage.path.rglob(f"*stack*rank{rank}*")
        assert "on_step_end" in stacks.read_text() or "training_step" in stacks.read_text()
    assert "faults.py" in "".join(p.read_text() for p in stage.path.rglob("*stack*rank1*"))
    assert manifest_of(stage).state == "failed"
    assert checkpoints(stage) == ["checkpoint-2"]

    yard.does("dpo", "hung", sets=sets)

    assert ["resumed", 2] in [[r["event"], r.get("step")] for r in read_jsonl(stage.events_path)]


def test_17_pairs_that_tell_nothing_apart_are_counted_or_leave_the_loss_at_ln_2(
    yard: Yard, tmp_path: Path
) -> None:
    """A pair of equal answers is no pair; of equal pairs turned round, nothing can be learnt."""
    equal = [pair("Yes.", "Yes.", number=n) for n in range(20)]
    only_equal = write(tmp_path / "equal.jsonl", equal)
    error = yard.error("data prepare", "only-equal", sets=pairs(only_equal), code=2)
    assert error["kind"] == "data"
    assert "20" in error["message"]
    assert not (stage_of(yard, "only-equal", "data").path / "dpo").exists()

    sound = [pair("Yes.", "No.", number=n) for n in range(20, 60)]
    turned = [pair("No.", "Yes.", number=n) for n in range(20, 60)]
    both = write(tmp_path / "both.jsonl", [*equal, *sound, *turned])
    # Adam makes steps of one size out of gradients that are only rounding; small ones show it.
    training = {"init_from": "base", "max_steps": 4, "global_batch_size": 80, "learning_rate": 1e-6}
    sets = pairs(both) | {f"dpo.{name}": value for name, value in training.items()}
    yard.does("dpo", "turned", sets=sets)
    account = json.loads(
        (stage_of(yard, "turned", "data").path / "account.json").read_text()
    )["dpo"]  # fmt: skip
    assert sum(account["removed"].values()) == 20
    losses = [loss for _, _, loss in curve(stage_of(yard, "turned", "dpo"))]
    assert losses
    assert losses == pytest.approx([math.log(2)] * len(losses), abs=1e-4)


def pair(chosen: str, rejected: str, *, number: int) -> dict:
    def said(text: str) -> list[dict[str, str]]:
        asked = {"role": "user", "content": f"Is {number} a number?"}
        return [asked, {"role": "assistant", "content": text}]

    return {"prompt": f"Is {number} a number?", "chosen": said(chosen), "rejected": said(rejected)}


def write(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def pairs(path: Path) -> dict:
    """Settings that take pairs from one file, and no dialogues."""
    return {
        "data.dpo.train": f"[{{path: {path}}}]",
        "data.dpo.test_size": 0,
        "data.dpo.filters": "[]",
        "data.sft.train": "[]",
        "data.decontaminate.against": "[]",
    }


def test_18_a_kill_between_writing_and_renaming_a_checkpoint_leaves_the_one_before(
    yard: Yard, straight_sft: str, straight_dpo: str
) -> None:
    stage = yard.copy(straight_sft, "half-saved").stage("dpo")
    yard.does("dpo", "half-saved", fault="save=4:kill", code=1)
    assert "checkpoint-2" in checkpoints(stage)
    assert "checkpoint-4" not in checkpoints(stage)
    assert [name for name in checkpoints(stage) if name.startswith("checkpoint-4.partial")]
    assert not stage.model.exists()

    yard.does("dpo", "half-saved", fault="publish=0:kill", code=1)
    assert ["resumed", 2] in [[r["event"], r.get("step")] for r in read_jsonl(stage.events_path)]
    assert not stage.model.exists()

    yard.does("dpo", "half-saved")
    assert outcome(stage) == outcome(stage_of(yard, straight_dpo, "dpo"))
    assert leftovers(yard.run("half-saved")) == []
    assert manifest_of(stage).attempts == 3
