"""The packaged recipes: they parse, say what they are, and hold the published numbers."""

import pytest

from zephyrctl.config.layers import load
from zephyrctl.config.recipes import find, packaged
from zephyrctl.errors import UsageError

NAMES = [item.name for item in packaged()]


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_is_valid_and_carries_its_own_name(name):
    loaded = load(recipe=name, env={})

    assert loaded.recipe.name == name


@pytest.mark.parametrize("recipe", packaged(), ids=NAMES)
def test_every_recipe_says_in_a_line_what_it_is(recipe):
    assert 20 < len(recipe.summary) <= 100
    assert recipe.summary.endswith((".", "GPUs.", "GB."))


@pytest.mark.parametrize(
    "name",
    [
        "zephyr-7b",
        "zephyr-7b-qlora",
        "zephyr-7b-paper",
        "zephyr-7b-clean",
        "zephyr-7b-simpo",
        "zephyr-llama3-8b",
        "mixtral-8x7b-qlora",
        "smol-360m",
        "smol-1.7b",
        "tiny",
    ],
)
def test_the_promised_recipes_are_there(name):
    assert name in NAMES


def test_zephyr_7b_is_the_handbook_of_january_2024():
    recipe = load(recipe="zephyr-7b", env={}).recipe

    sft, dpo = recipe.sft, recipe.dpo
    assert (sft.learning_rate, sft.global_batch_size, sft.max_length) == (2e-5, 128, 2048)
    assert (sft.packing, sft.loss_on, sft.epochs, sft.warmup_ratio) == ("wrapped", "all", 1, 0.1)
    assert (dpo.learning_rate, dpo.global_batch_size, dpo.beta) == (5e-7, 128, 0.01)
    assert (dpo.max_length, dpo.max_prompt_length, dpo.lr_scheduler) == (1024, 512, "cosine")
    assert sft.expected["eval_loss"].value == 0.935
    assert dpo.expected["reward_margin"].value == 1.0


def test_the_paper_recipe_differs_where_the_paper_does():
    recipe = load(recipe="zephyr-7b-paper", env={}).recipe

    assert recipe.sft.global_batch_size == 512
    assert recipe.sft.expected == {}
    dpo = recipe.dpo
    assert (dpo.beta, dpo.epochs, dpo.lr_scheduler, dpo.global_batch_size) == (0.1, 3, "linear", 32)
    assert dpo.expected["eval_loss"].value == 0.75


def test_the_simpo_recipe_holds_the_published_settings():
    dpo = load(recipe="zephyr-7b-simpo", env={}).recipe.dpo

    assert (dpo.loss, dpo.beta, dpo.simpo_gamma_ratio, dpo.learning_rate) == (
        "simpo", 2.0, 0.8, 3e-7,
    )  # fmt: skip
    assert (dpo.global_batch_size, dpo.max_length, dpo.epochs) == (128, 1024, 1)
    assert not dpo.has_reference


def test_unverified_recipes_expect_nothing():
    for name in ("zephyr-7b-clean", "zephyr-7b-simpo", "zephyr-llama3-8b", "mixtral-8x7b-qlora"):
        assert load(recipe=name, env={}).recipe.dpo.expected == {}


def test_qlora_keeps_the_published_adapters():
    recipe = load(recipe="zephyr-7b-qlora", env={}).recipe

    assert recipe.model.load_in_4bit
    assert (recipe.sft.adapter.r, recipe.dpo.adapter.r) == (16, 128)
    assert (recipe.sft.global_batch_size, recipe.dpo.global_batch_size) == (64, 32)


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'zephyr-7b'"):
        find("zephyr-7c")
