"""Drift from the packaged recipe: what is said of it, and which figures are still compared."""

import json
from pathlib import Path

import pytest

from zephyrctl.config.layers import load
from zephyrctl.config.schema import Recipe
from zephyrctl.planning import drift
from zephyrctl.runs.store import Run

QLORA = "{type: lora, r: 16}"


def changed(*sets: str, recipe: str = "zephyr-7b") -> Recipe:
    return load(recipe=recipe, sets=sets, env={}).recipe


def lines(*sets: str, recipe: str = "zephyr-7b") -> list[str]:
    return drift.warnings(changed(*sets, recipe=recipe), changed(recipe=recipe), name=recipe)


def test_a_recipe_that_was_not_changed_has_nothing_to_say():
    assert lines() == []
    assert (
        lines("sft.micro_batch_size=2", "sft.log_every=1", "sft.gradient_checkpointing=true") == []
    )


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("model.base=HuggingFaceTB/SmolLM2-360M", "another base model"),
        ("model.chat_template=tokenizer", "other tokens are trained"),
        ("model.revision=main", "other weights"),
        ("data.sft.test=[]", "data.sft.test is nothing"),
        ("sft.packing=bfd", "sft.packing is bfd, recipe zephyr-7b says wrapped"),
        ("sft.loss_on=assistant", "cannot be compared"),
        ("sft.lr_scheduler=linear", "another curve"),
        ("sft.warmup_ratio=0.03", "rises over another share"),
        ("sft.epochs=3", "the number of steps changes"),
        ("dpo.beta=0.1", "rewards, margins and loss scale with it"),
        ("dpo.loss=ipo", "another loss"),
        ("dpo.optimizer=rmsprop", "other steps are taken"),
        ("dpo.max_length=768", "other tokens are cut off"),
        ("dpo.max_prompt_length=256", "other prompts are cut"),
    ],
)
def test_each_decisive_setting_is_named_with_why_it_matters(setting, words):
    (line,) = lines(setting)
    assert setting.partition("=")[0] in line
    assert words in line


def test_another_revision_of_the_same_data_set_is_drift():
    source = "{path: HuggingFaceH4/ultrafeedback_binarized, split: train_prefs}"
    (line,) = lines(f"data.dpo.train=[{source}]")
    assert "ultrafeedback_binarized:train_prefs@main, recipe zephyr-7b says" in line
    assert "@3949bf5f8c: other rows" in line


def test_another_batch_at_the_same_rate_is_said_twice():
    first, second = lines("sft.global_batch_size=8")
    assert first.startswith("sft.global_batch_size is 8, recipe zephyr-7b says 128")
    assert second == "sft.learning_rate was chosen for batches of 128, not of 8"
    both = lines("sft.global_batch_size=8", "sft.learning_rate=1e-6")
    assert not any("was chosen" in line for line in both)


def test_an_adapter_at_the_rate_of_full_training_is_told_the_factor():
    found = lines(f"dpo.adapter={QLORA}")
    assert any("wants about ten times it (--set dpo.learning_rate=5e-06)" in line for line in found)
    moved = lines(f"dpo.adapter={QLORA}", "dpo.learning_rate=5e-6")
    assert not any("ten times" in line for line in moved)


def test_full_training_at_the_rate_of_an_adapter_is_told_too():
    found = lines("model.load_in_4bit=false", "sft.adapter={type: none}", recipe="zephyr-7b-qlora")
    assert any("a tenth of it (--set sft.learning_rate=2e-05)" in line for line in found)


def test_another_rank_is_drift():
    assert any(
        "sft.adapter.r is 8" in line for line in lines("sft.adapter.r=8", recipe="zephyr-7b-qlora")
    )


def test_optimizers_that_take_the_steps_of_adamw_are_no_drift():
    assert lines("sft.optimizer=adamw_bf16") == []
    assert lines("sft.optimizer=adamw_8bit") != []


def test_the_number_of_steps_against_the_published_run():
    mine = changed("sft.global_batch_size=8")
    assert drift.steps(mine, stage="sft", planned=1090) == []
    assert drift.steps(mine, stage="sft", planned=None) == []
    (line,) = drift.steps(mine, stage="sft", planned=17429)
    assert "17429 steps, the published run took 1090" in line


def test_published_steps_are_those_of_the_published_data():
    mine = changed("data.sft.train=[{path: ./mine.jsonl}]")
    assert drift.steps(mine, stage="sft", planned=17) == []


def test_the_nearest_packaged_recipe_is_the_one_to_compare_with():
    found = drift.base_of("zephyr.yaml ← recipe zephyr-7b-qlora ← recipe zephyr-7b")
    assert found is not None
    assert found[0] == "zephyr-7b-qlora"
    assert drift.base_of("zephyr.yaml") is None


def test_a_stage_reads_from_its_run_what_the_configuration_extends(tmp_path: Path):
    mine = changed("sft.packing=none", "dpo.beta=0.5")
    run = Run(tmp_path)
    assert drift.at_start(mine, run, stage="sft") == []
    source = {"source": "zephyr.yaml ← recipe zephyr-7b"}
    (tmp_path / "manifest.json").write_text(json.dumps(source), encoding="utf-8")
    assert [line.split()[0] for line in drift.at_start(mine, run, stage="sft")] == ["sft.packing"]
    assert [line.split()[0] for line in drift.at_start(mine, run, stage="dpo")] == ["dpo.beta"]


# ------------------------------------------------------------------------ which figures still hold


def test_published_figures_hold_for_another_rate_and_batch():
    mine = changed("sft.global_batch_size=8", "sft.learning_rate=1e-4")
    assert drift.comparable(mine, stage="sft") == (mine, [])


@pytest.mark.parametrize(
    ("setting", "stage"),
    [
        ("model.base=tiny", "sft"),
        ("model.chat_template=tokenizer", "dpo"),
        ("sft.loss_on=assistant", "sft"),
        ("sft.packing=none", "sft"),
        ("dpo.beta=0.1", "dpo"),
        ("dpo.loss=ipo", "dpo"),
        ("data.dpo.train=[{path: ./mine.jsonl}]", "dpo"),
    ],
)
def test_published_figures_of_something_else_are_left_out_and_said(setting, stage):
    bare, said = drift.comparable(changed(setting), stage=stage)
    assert getattr(bare, stage).expected == {}
    assert getattr(bare, stage).canaries == []
    assert len(said) == 1
    assert setting.partition("=")[0] in said[0]


def test_a_recipe_that_shares_the_figures_of_another_keeps_them():
    simpo = changed(recipe="zephyr-7b-simpo")
    assert drift.comparable(simpo, stage="sft") == (simpo, [])


def test_figures_that_the_user_wrote_are_the_users():
    mine = changed(
        "model.base=tiny", "sft.expected={eval_loss: {value: 2, tolerance: 1}}", "sft.canaries=[]"
    )
    assert drift.comparable(mine, stage="sft") == (mine, [])
