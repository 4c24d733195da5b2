"""Memory runs out: the same steps in smaller passes."""

import json
from typing import Any

import pytest
from tests.training.test_resume import outcome, train_losses

from zephyrctl.runs import adjustments
from zephyrctl.runs.atomic import write_json
from zephyrctl.runs.store import StageDir
from zephyrctl.training import micro_batches, order
from zephyrctl.training.micro_batches import Costs

pytestmark = pytest.mark.train

SFT: dict[str, Any] = {"epochs": 4, "save_every": 2, "micro_batch_size": 4, "sample_prompts": 1}
HALF: dict[str, Any] = SFT | {"micro_batch_size": 2}


def error_of(stage: StageDir, rank: int = 0) -> dict[str, Any]:
    return json.loads((stage.path / f"error-rank{rank}.json").read_text())


def test_a_step_takes_the_same_examples_in_smaller_passes(make_run: Any) -> None:
    recipe, _ = make_run()
    lengths = [5, 9, 14, 22, 31, 8, 17, 26]
    planned = order.plan(recipe.sft, lengths=lengths, seed=3)
    costs = Costs(lengths, padded=False)
    sets = []
    for limit in (60, 30):
        passes = micro_batches.by_tokens(planned, costs, limit=limit, world_size=1, rank=0)
        steps = [passes.batches[i :: passes.per_step] for i in range(passes.per_step)]
        sets.append(
            [sorted(i for batch in step for i in batch) for step in zip(*steps, strict=True)]
        )
    assert sets[0] == sets[1]
    assert len(sets[0]) == planned.steps


def test_a_shortage_halves_the_passes_and_the_same_command_goes_on(
    make_run: Any, drill: Any
) -> None:
    recipe, run = make_run("short", sft=SFT)
    _, smaller = make_run("smaller", sft=HALF)
    _, later = make_run("later", sft=SFT)
    stage = run.stage("sft")

    assert drill(run, "sft", fault="step=5:oom") == [3]
    error = error_of(stage)["error"]
    assert error["kind"] == "memory"
    assert "at step 6, in a forward pass of 4 examples" in error["message"]
    text = adjustments.halve(stage, recipe.sft)
    assert text is not None
    assert "micro_batch_size 4 → 2" in text
    assert drill(run, "sft") == [0]

    manifest = stage.read_manifest()
    assert manifest is not None
    assert (manifest.metrics["micro_batch_size"], manifest.metrics["accumulation_steps"]) == (2, 2)
    assert any("micro_batch_size 4 → 2" in said for said in manifest.notices)
    assert drill(smaller, "sft") == [0]
    pairs = zip(train_losses(stage), train_losses(smaller.stage("sft")), strict=True)
    for (*here, loss), (*there, expected) in pairs:
        assert here == there
        assert loss == pytest.approx(expected, abs=2e-5)
    # From the resumed step on, it is what any start with that size would have done.
    assert drill(later, "sft", fault="step=5:kill") == [-9]
    write_json(later.stage("sft").path / adjustments.FILE, {"micro_batch_size": 2})
    assert drill(later, "sft") == [0]
    assert outcome(later.stage("sft"))["weights"] == outcome(stage)["weights"]


def test_a_shortage_before_any_checkpoint_ends_like_a_run_in_smaller_passes(
    make_run: Any, drill: Any
) -> None:
    dpo: dict[str, Any] = {"init_from": "base", "epochs": 2, "micro_batch_size": 4}
    dpo |= {"sample_prompts": 1}
    recipe, run = make_run("early", dpo=dpo)
    _, smaller = make_run("smaller", dpo=dpo | {"micro_batch_size": 2})

    assert drill(run, "dpo", fault="step=1:oom") == [3]
    assert "pass of 4 examples" in error_of(run.stage("dpo"))["error"]["message"]
    assert adjustments.halve(run.stage("dpo"), recipe.dpo)
    assert drill(run, "dpo") == [0]
    assert drill(smaller, "dpo") == [0]

    assert outcome(run.stage("dpo")) == outcome(smaller.stage("dpo"))
    assert adjustments.read(run.stage("dpo")).micro_batch_size == 2  # for later commands too


def test_a_shortage_of_one_process_ends_all_and_its_error_is_the_one(
    make_run: Any, drill: Any
) -> None:
    _, run = make_run("ranks", sft=SFT | {"micro_batch_size": 2})
    stage = run.stage("sft")

    codes = drill(run, "sft", fault="step=3@1:oom", ranks=2)

    assert codes[1] == 3
    assert codes[0] not in (0, 3)
    first, second = error_of(stage, 0), error_of(stage, 1)
    assert second["error"]["kind"] == "memory"
    assert first["error"]["kind"] == "neighbour"
    assert second["t"] < first["t"]
