"""The packaged recipes: they parse, say what they are, and hold the published numbers.

Sources of the numbers: the model cards of zephyr-7b-beta, sft-full and dpo-full, and the recipe
files of alignment-handbook at f0ffa0d (January 2024), 87cc800 (QLoRA) and ae3f44f (SmolLM2).
"""

import re

import pytest

from zephyrctl.config.layers import load
from zephyrctl.config.recipes import find, packaged
from zephyrctl.config.schema import Recipe
from zephyrctl.errors import UsageError

NAMES = [item.name for item in packaged()]
COMMIT = re.compile(r"[0-9a-f]{40}")
ON_CPU = ("first-run", "tiny")

MISTRAL = ("mistralai/Mistral-7B-v0.1", "26bca36bde8333b5d7f72e9ed20ccda6a618af24")
ULTRACHAT = ("HuggingFaceH4/ultrachat_200k", "8049631c405ae6576f93f445c6b8166f76f5505a")
ULTRAFEEDBACK = (
    "HuggingFaceH4/ultrafeedback_binarized",
    "3949bf5f8c17c394422ccfab0c31ea9c20bdeb85",
)
ARGILLA = (
    "argilla/ultrafeedback-binarized-preferences-cleaned",
    "770076f077c4c5e298498fa32f804857f46d5134",
)

# learning rate, scheduler, warm-up, epochs, global batch, longest row, packing, loss on
SFT = {
    "zephyr-7b": (2e-5, "cosine", 0.1, 1, 128, 2048, "wrapped", "all"),
    "zephyr-7b-qlora": (2e-4, "cosine", 0.1, 1, 64, 2048, "wrapped", "all"),
    "zephyr-7b-paper": (2e-5, "cosine", 0.1, 1, 512, 2048, "wrapped", "all"),
    "zephyr-7b-clean": (2e-5, "cosine", 0.1, 1, 128, 2048, "wrapped", "all"),
    "zephyr-7b-simpo": (2e-5, "cosine", 0.1, 1, 128, 2048, "wrapped", "all"),
    "zephyr-llama3-8b": (2e-5, "cosine", 0.1, 1, 128, 2048, "wrapped", "all"),
    "mixtral-8x7b-qlora": (2e-4, "cosine", 0.1, 1, 64, 2048, "wrapped", "all"),
    "smol-1.7b": (3e-4, "cosine", 0.1, 2, 128, 8192, "none", "all"),
    "smol-360m": (1e-3, "cosine", 0.1, 2, 128, 8192, "none", "all"),
}
# learning rate, scheduler, warm-up, epochs, global batch, longest row, longest prompt, beta, loss
DPO = {
    "zephyr-7b": (5e-7, "cosine", 0.1, 1, 128, 1024, 512, 0.01, "sigmoid"),
    "zephyr-7b-qlora": (5e-6, "cosine", 0.1, 1, 32, 1024, 512, 0.01, "sigmoid"),
    "zephyr-7b-paper": (5e-7, "linear", 0.1, 3, 32, 1024, 512, 0.1, "sigmoid"),
    "zephyr-7b-clean": (5e-7, "cosine", 0.1, 1, 128, 1024, 512, 0.01, "sigmoid"),
    "zephyr-7b-simpo": (3e-7, "cosine", 0.1, 1, 128, 1024, 512, 2.0, "simpo"),
    "zephyr-llama3-8b": (5e-7, "cosine", 0.1, 1, 128, 2048, 1800, 0.01, "sigmoid"),
    "mixtral-8x7b-qlora": (5e-6, "cosine", 0.1, 1, 32, 1024, 512, 0.01, "sigmoid"),
    "smol-1.7b": (1e-6, "cosine", 0.1, 3, 128, 1024, 512, 0.5, "sigmoid"),
    "smol-360m": (1e-6, "cosine", 0.1, 2, 128, 1024, 512, 0.5, "sigmoid"),
}
# rank, alpha, dropout of SFT and of DPO
ADAPTERS = {
    "zephyr-7b-qlora": ((16, 16, 0.05), (128, 128, 0.05)),
    "mixtral-8x7b-qlora": ((16, 16, 0.05), (128, 128, 0.05)),
}
BASES = {
    "zephyr-llama3-8b": (
        "meta-llama/Meta-Llama-3-8B", "8cde5ca8380496c9a6cc7ef3a8b46a0372a1d920",
    ),
    "mixtral-8x7b-qlora": (
        "mistralai/Mixtral-8x7B-v0.1", "fc7ac94680e38d7348cfa806e51218e6273104b0",
    ),
    "smol-1.7b": ("HuggingFaceTB/SmolLM2-1.7B", "effd688a12921b4cc83e3312b6feb579f70f9c71"),
    "smol-360m": ("HuggingFaceTB/SmolLM2-360M", "f8027fd0eaeea54caa13c31d31b9fdc459c38b49"),
}  # fmt: skip
DIALOGUES = {
    "smol-1.7b": ("HuggingFaceTB/smoltalk", "5feaf2fd3ffca7c237fc38d1861bc30365d48ffa"),
    "smol-360m": ("HuggingFaceTB/smol-smoltalk", "f73fe857d519ff6ac5af2ea67c4d3834da7b8bcc"),
}
# published values by stage; a recipe that is not named expects nothing
EXPECTED = {
    ("zephyr-7b", "sft"): {"steps": 1090, "eval_loss": 0.935},
    ("zephyr-7b", "dpo"): {
        "steps": 478, "train_loss": 0.537, "eval_loss": 0.50, "reward_accuracy": 0.77,
        "reward_margin": 1.0,
    },
    ("zephyr-7b-clean", "sft"): {"steps": 1090, "eval_loss": 0.935},
    ("zephyr-7b-simpo", "sft"): {"steps": 1090, "eval_loss": 0.935},
    ("zephyr-7b-qlora", "sft"): {"steps": 2179, "eval_loss": 0.947},
    ("zephyr-7b-qlora", "dpo"): {
        "steps": 1910, "train_loss": 0.565, "eval_loss": 0.50, "reward_accuracy": 0.76,
        "reward_margin": 1.01,
    },
    ("zephyr-7b-paper", "dpo"): {
        "steps": 5811, "train_loss": 0.217, "eval_loss": 0.75, "reward_accuracy": 0.78,
        "reward_margin": 3.8,
    },
}  # fmt: skip

BOTH = ["mt-bench", "alpaca-eval"]
# what is judged: both benchmarks where scores on both were published, of it or of its nearest
JUDGED = {
    "zephyr-7b": BOTH, "zephyr-7b-paper": BOTH, "zephyr-7b-clean": BOTH, "zephyr-7b-simpo": BOTH,
    "zephyr-llama3-8b": BOTH, "zephyr-7b-qlora": ["mt-bench"], "mixtral-8x7b-qlora": ["mt-bench"],
    "smol-1.7b": ["mt-bench"], "smol-360m": ["mt-bench"],
}  # fmt: skip


def recipe(name: str) -> Recipe:
    return load(recipe=name, env={}).recipe


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_is_valid_and_carries_its_own_name(name):
    assert recipe(name).name == name


@pytest.mark.parametrize("item", packaged(), ids=NAMES)
def test_every_recipe_says_in_a_line_what_it_is(item):
    assert 20 < len(item.summary) <= 100
    assert item.summary.endswith((".", "GPUs.", "GB."))


def test_the_promised_recipes_are_there():
    assert sorted(NAMES) == sorted([*SFT, *ON_CPU])


@pytest.mark.parametrize("name", SFT)
def test_fine_tuning_has_the_numbers_of_its_source(name):
    sft = recipe(name).sft
    assert SFT[name] == (
        sft.learning_rate, sft.lr_scheduler, sft.warmup_ratio, sft.epochs, sft.global_batch_size,
        sft.max_length, sft.packing, sft.loss_on,
    )  # fmt: skip
    assert (sft.weight_decay, sft.max_grad_norm, sft.optimizer) == (0, 1, "auto")


@pytest.mark.parametrize("name", DPO)
def test_preference_training_has_the_numbers_of_its_source(name):
    dpo = recipe(name).dpo
    assert DPO[name] == (
        dpo.learning_rate, dpo.lr_scheduler, dpo.warmup_ratio, dpo.epochs, dpo.global_batch_size,
        dpo.max_length, dpo.max_prompt_length, dpo.beta, dpo.loss,
    )  # fmt: skip
    assert (dpo.weight_decay, dpo.max_grad_norm, dpo.label_smoothing) == (0, 1, 0)
    is_paged = name in ADAPTERS
    assert dpo.optimizer == ("paged_adamw_32bit" if is_paged else "auto")


@pytest.mark.parametrize("name", SFT)
def test_adapters_are_those_of_the_source(name):
    stages = (recipe(name).sft, recipe(name).dpo)
    found = tuple((s.adapter.r, s.adapter.alpha, s.adapter.dropout) for s in stages)
    if name in ADAPTERS:
        assert found == ADAPTERS[name]
        assert recipe(name).model.load_in_4bit
        targets = [s.adapter.target_modules for s in stages]
        attention = ["q_proj", "k_proj", "v_proj", "o_proj"]
        assert targets == ([attention] * 2 if "mixtral" in name else ["all-linear"] * 2)
    assert {s.adapter.type for s in stages} == {"lora" if name in ADAPTERS else "none"}


@pytest.mark.parametrize("name", SFT)
def test_models_and_data_are_pinned_to_commits(name):
    own = recipe(name)
    assert (own.model.base, own.model.revision) == BASES.get(name, MISTRAL)
    assert own.model.chat_template == "zephyr"
    dialogues, pairs = own.data.sft, own.data.dpo
    for source in (*dialogues.train, *dialogues.test):
        assert (source.path, source.revision) == DIALOGUES.get(name, ULTRACHAT)
    for source in (*pairs.train, *pairs.test):
        assert (source.path, source.revision) == (ARGILLA if "clean" in name else ULTRAFEEDBACK)
        assert COMMIT.fullmatch(source.revision)
    assert pairs.test or pairs.test_size > 0


@pytest.mark.parametrize("name", NAMES)
def test_benchmarks_are_those_with_published_scores_and_their_questions_are_searched_for(name):
    own = recipe(name)
    assert own.eval.benchmarks == JUDGED.get(name, ["rules"])
    if name in ON_CPU:
        return
    assert own.eval.models == ["sft", "dpo"]
    assert own.eval.judge.spec is None  # nobody's money is spent by a packaged recipe
    assert own.data.decontaminate.against == BOTH
    assert own.eval.mt_bench.max_new_tokens == 1024
    assert (own.eval.alpaca_eval.max_new_tokens, own.eval.alpaca_eval.temperature) == (2048, 0.7)


def test_the_papers_scores_are_those_of_october_2023():
    found = {name: recipe(name).eval for name in SFT}
    references = {name for name, own in found.items() if own.mt_bench.references == "original"}
    versions = {name for name, own in found.items() if own.alpaca_eval.version == 1}
    assert references == versions == {"zephyr-7b-paper"}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_only_published_values_are_expected_each_with_source_and_tolerance(name, stage):
    training = getattr(recipe(name), stage)
    found = {metric: entry.value for metric, entry in training.expected.items()}
    assert found == EXPECTED.get((name, stage), {})
    assert all(entry.source and entry.tolerance > 0 for entry in training.expected.values())
    assert all(canary.source for canary in training.canaries)
    assert bool(training.canaries) == (bool(found) and name != "zephyr-7b-paper")


@pytest.mark.parametrize(
    "name",
    ["zephyr-7b-clean", "zephyr-7b-simpo", "zephyr-llama3-8b", "mixtral-8x7b-qlora", "smol-1.7b",
     "smol-360m"],
)  # fmt: skip
def test_recipes_without_published_losses_say_that_they_are_unverified(name):
    assert recipe(name).dpo.expected == {}
    assert "Unverified" in find(name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_what_only_memory_decides_is_left_to_the_plan(name):
    for training in (recipe(name).sft, recipe(name).dpo):
        assert training.gradient_checkpointing == "auto"
        assert training.micro_batch_size == "auto"
        assert training.micro_batch_tokens == "auto"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("processes", [1, 4, 8])
def test_the_global_batch_is_shared_evenly_by_the_gpus_it_was_made_for(name, processes):
    if name in ON_CPU and processes == 8:
        return  # made for one process
    for training in (recipe(name).sft, recipe(name).dpo):
        assert training.global_batch_size % processes == 0


def test_the_published_ranges_hold_the_published_runs():
    dpo = recipe("zephyr-7b").dpo
    runs = {  # of the three reproductions: at the start, at step 100, at the end
        ("chosen_logps", 0.0): (-260, -285),
        ("eval_loss", 0.2): (0.576, 0.584),
        ("reward_accuracy", 0.2): (0.715, 0.724),
        ("reward_margin", 0.2): (0.46, 0.55),
        ("reward_accuracy", None): (0.762, 0.770),
        ("reward_margin", None): (0.94, 1.11),
    }
    for canary in dpo.canaries:
        for value in runs[(canary.metric, canary.at)]:
            assert canary.above is None or value > canary.above
            assert canary.below is None or value < canary.below


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'zephyr-7b'"):
        find("zephyr-7c")
