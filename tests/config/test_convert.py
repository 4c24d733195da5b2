"""Files of alignment-handbook and TRL become one valid file of ours; nothing is lost silently."""

from pathlib import Path

import pytest
from tests.config import handbook

from zephyrctl.config.convert import convert_files
from zephyrctl.config.layers import load
from zephyrctl.config.schema import Recipe
from zephyrctl.config.yaml import read_yaml
from zephyrctl.errors import ConfigError, UsageError


def convert(folder: Path, *texts: str, **options) -> tuple[Recipe, list[str]]:
    """The converted recipe, read back the way a user would, and the notes."""
    paths = []
    for index, text in enumerate(texts):
        path = folder / f"{index}.yaml"
        path.write_text(text)
        paths.append(path)
    converted = convert_files(paths, **options)
    out = folder / "out.yaml"
    out.write_text(converted.text)
    return load(config=out, env={}, cwd=folder).recipe, converted.notes


def assert_every_key_is_accounted_for(text: str, recipe: Recipe, notes: list[str]) -> None:
    """Each old key left a trace: its value is in the recipe, or a note names it."""
    values = str(recipe.model_dump())
    # Written in another form, which the tests below look at, or at what is our default already.
    elsewhere = {"optim", "packing", "precompute_ref_log_probs", "use_peft", "warmup_steps"}
    elsewhere |= {"model_revision", "torch_dtype", "max_steps", "report_to", "chat_template"}
    elsewhere |= {"per_device_train_batch_size", "gradient_accumulation_steps", "output_dir"}
    elsewhere |= {"save_strategy", "eval_strategy", "evaluation_strategy", "use_flash_attention_2"}
    for key, value in read_yaml(text, label="").values.items():
        traces = str(value) if not isinstance(value, dict | list) else None
        noted = any(key in note for note in notes)
        assert noted or key in elsewhere or traces is None or traces in values, key


@pytest.mark.parametrize(
    ("sft", "dpo"),
    [
        (handbook.SFT_2024, handbook.DPO_2024),
        (handbook.SFT_2025, handbook.DPO_2025),
    ],
)
def test_the_handbooks_zephyr_becomes_our_zephyr(tmp_path, sft, dpo):
    recipe, notes = convert(tmp_path, sft, dpo, gpus=8)

    ours = load(recipe="zephyr-7b", env={}).recipe
    for name in ("learning_rate", "lr_scheduler", "warmup_ratio", "epochs", "global_batch_size"):
        assert getattr(recipe.sft, name) == getattr(ours.sft, name), name
        assert getattr(recipe.dpo, name) == getattr(ours.dpo, name), name
    assert recipe.sft.max_length == 2048
    assert recipe.sft.loss_on == "all"
    assert (recipe.dpo.max_length, recipe.dpo.max_prompt_length) == (1024, 512)
    assert (recipe.dpo.beta, recipe.dpo.init_from) == (0.01, "@sft")
    assert recipe.model.base == "mistralai/Mistral-7B-v0.1"
    assert recipe.model.chat_template == "zephyr"
    assert recipe.model.attention == "flash_attention_2"
    assert recipe.name == "zephyr-7b-sft-full"
    assert recipe.seed == 42
    for part, theirs in ((recipe.data.sft, ours.data.sft), (recipe.data.dpo, ours.data.dpo)):
        # The handbook's files pin no revision of the data.
        assert part.train == [s.model_copy(update={"revision": None}) for s in theirs.train]
        assert part.test == [s.model_copy(update={"revision": None}) for s in theirs.test]
    text = "\n".join(notes)
    assert "no counterpart: push_to_hub" in text
    assert "not needed: do_eval" in text
    assert_every_key_is_accounted_for(sft, recipe, notes)
    assert_every_key_is_accounted_for(dpo, recipe, notes)


def test_the_eras_differ_in_packing_and_in_what_is_trained_on(tmp_path):
    old, old_notes = convert(tmp_path, handbook.SFT_2024)
    new, new_notes = convert(tmp_path, handbook.SFT_2025)

    assert (old.sft.packing, new.sft.packing) == ("wrapped", "none")
    assert any("the handbook's script packed" in note for note in old_notes)
    assert any("the file trains on it" in note for note in new_notes)


def test_without_the_number_of_gpus_one_is_taken_and_said(tmp_path):
    recipe, notes = convert(tmp_path, handbook.SFT_2024)

    assert recipe.sft.global_batch_size == 16
    assert any("16 × 1 × 1 GPU; --gpus N" in note for note in notes)


def test_qlora_files_keep_their_adapters(tmp_path):
    recipe, notes = convert(tmp_path, handbook.SFT_QLORA_2024, handbook.DPO_QLORA_2024, gpus=1)

    assert recipe.model.load_in_4bit
    assert recipe.model.dtype == "bfloat16"
    assert any("float16 with bfloat16 arithmetic" in note for note in notes)
    assert (recipe.sft.adapter.type, recipe.sft.adapter.r) == ("lora", 16)
    assert (recipe.dpo.adapter.type, recipe.dpo.adapter.alpha) == ("lora", 128)
    assert len(recipe.dpo.adapter.target_modules) == 7
    assert recipe.dpo.optimizer == "paged_adamw_32bit"
    assert (recipe.sft.global_batch_size, recipe.dpo.global_batch_size) == (8, 16)


@pytest.mark.parametrize("text", [handbook.SFT_QLORA_2024, handbook.DPO_QLORA_2024])
def test_a_qlora_file_alone_is_valid_too(tmp_path, text):
    recipe, notes = convert(tmp_path, text)

    assert recipe.sft.adapter.type == recipe.dpo.adapter.type == "lora"
    assert any("both stages load the base alike" in note for note in notes)


def test_a_dpo_file_alone_starts_from_the_model_it_names(tmp_path):
    recipe, _ = convert(tmp_path, handbook.DPO_2024)

    assert recipe.model.base == "alignment-handbook/zephyr-7b-sft-full"
    assert recipe.dpo.init_from == "base"


def test_what_a_trl_file_leaves_out_is_trls_default(tmp_path):
    recipe, notes = convert(tmp_path, handbook.TRL_SFT, stage="sft")

    sft = recipe.sft
    assert (sft.lr_scheduler, sft.warmup_ratio, sft.max_length) == ("linear", 0.0, 1024)
    assert (sft.loss_on, sft.packing, sft.global_batch_size) == ("all", "bfd", 16)
    assert (sft.adapter.type, sft.adapter.r) == ("lora", 32)
    assert sft.eval_every == 100
    assert any("TRL's defaults written down for sft" in note for note in notes)
    assert any("eos_token" in note for note in notes)
    assert_every_key_is_accounted_for(handbook.TRL_SFT, recipe, notes)


def test_a_trl_dpo_file_keeps_its_losses_and_passes_the_rest_through(tmp_path):
    recipe, notes = convert(tmp_path, handbook.TRL_DPO)

    dpo = recipe.dpo
    assert (dpo.loss, dpo.loss_weights, dpo.beta) == (["sigmoid", "sft"], [1.0, 0.1], 0.2)
    assert (dpo.max_steps, dpo.warmup_ratio) == (1000, 0.05)
    assert dpo.reference == "precompute"
    assert dpo.trainer_args == {"adam_beta2": 0.95}
    assert recipe.data.dpo.test[0].split == "test"
    assert any("save_strategy" in note for note in notes)
    assert_every_key_is_accounted_for(handbook.TRL_DPO, recipe, notes)


def test_what_only_a_script_would_do_is_said(tmp_path):
    text = handbook.SFT_2024 + "run_name: mine\n"

    _, notes = convert(tmp_path, text, handbook.DPO_2024)

    said = "\n".join(notes)
    assert "evaluation_strategy epoch: the held-out split is evaluated at the end" in said
    assert "run_name mine: the run is called zephyr-7b-sft-full" in said
    assert "output_dir data/zephyr-7b-dpo-full: both stages are in one run" in said


def test_keys_that_nobody_knows_are_named(tmp_path):
    _, notes = convert(tmp_path, handbook.DPO_2024 + "use_buffer: false\n")

    assert any("no counterpart: use_buffer (nothing here does this)" in note for note in notes)


def test_a_template_of_another_kind_is_named_with_the_way_out(tmp_path):
    text = handbook.SFT_2024.replace(handbook.ZEPHYR_TEMPLATE, "'<|im_start|>{{ x }}'")

    _, notes = convert(tmp_path, text)

    assert any("save it as FILE.jinja" in note for note in notes)


def test_a_wrong_value_is_placed_in_the_old_file(tmp_path):
    text = handbook.DPO_2024.replace("beta: 0.01", "beta: -3")

    with pytest.raises(ConfigError) as caught:
        convert(tmp_path, text)

    assert caught.value.message == "dpo.beta must be a number above 0, not -3"
    assert caught.value.where == f"{tmp_path}/0.yaml:4:1"


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["learning_rate: 1\n"], "do not tell whether"),
        (["sft: {epochs: 1}\n"], "is a zephyrctl configuration already"),
        ([handbook.DPO_2024, handbook.SFT_2024], "SFT file first"),
        ([handbook.SFT_2024, handbook.SFT_2025], "two files train sft"),
    ],
)
def test_files_that_cannot_be_converted_are_refused(tmp_path, texts, words):
    with pytest.raises(UsageError, match=words):
        convert(tmp_path, *texts)
