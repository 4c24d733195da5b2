"""Settings that are each right and together wrong."""

import pytest

from zephyrctl.config.checks import check
from zephyrctl.config.schema import Recipe


@pytest.mark.parametrize(
    ("values", "path", "words"),
    [
        (
            {"sft": {"trainable_layers": 2, "adapter": {"type": "lora"}}},
            "sft.trainable_layers",
            "freezes them all",
        ),
        ({"model": {"load_in_4bit": True}}, "model.load_in_4bit", "4-bit weights"),
        ({"model": {"dtype": "bfloat16"}}, "model.dtype", "lost to rounding"),
        (
            {"sft": {"global_batch_size": 10, "micro_batch_size": 4}},
            "sft.micro_batch_size",
            "is not a multiple",
        ),
        (
            {"dpo": {"max_length": 64, "max_prompt_length": 64}},
            "dpo.max_prompt_length",
            "no room for a completion",
        ),
        ({"dpo": {"loss_weights": [1.0, 2.0]}}, "dpo.loss_weights", "has 2 values for 1"),
        ({"dpo": {"loss": ["sft", "sft"]}}, "dpo.loss", "names a loss twice"),
        ({"dpo": {"loss": []}}, "dpo.loss", "empty list"),
        ({"dpo": {"loss": "exo_pair"}}, "dpo.label_smoothing", "needs a label_smoothing above 0"),
        ({"dpo": {"loss": ["simpo", "sft"]}}, "dpo.loss", "cannot be summed with others"),
        (
            {"dpo": {"loss": "simpo", "label_smoothing": 0.1}},
            "dpo.label_smoothing",
            "simpo does not use dpo.label_smoothing",
        ),
        (
            {"dpo": {"loss": "simpo", "loss_weights": [1.0]}},
            "dpo.loss_weights",
            "simpo does not use dpo.loss_weights",
        ),
        ({"dpo": {"loss": "simpo", "reference": "copy"}}, "dpo.reference", "simpo does not use"),
        (
            {"dpo": {"loss": "simpo", "trainer_args": {"use_weighting": True}}},
            "dpo.trainer_args.use_weighting",
            "simpo does not use",
        ),
        ({"dpo": {"loss": ["sigmoid", "rdpo"]}}, "dpo.loss", "rdpo cannot be summed with others"),
        (
            {"dpo": {"loss": "rdpo", "trainer_args": {"f_divergence_type": "forward_kl"}}},
            "dpo.trainer_args.f_divergence_type",
            "rdpo does not use",
        ),
        (
            {"dpo": {"loss": "simpo", "trainer_args": {"ld_alpha": 0.5}}},
            "dpo.trainer_args.ld_alpha",
            "simpo does not use",
        ),
        (
            {"dpo": {"label_smoothing": 0.1}},
            "dpo.label_smoothing",
            "sigmoid does not use dpo.label_smoothing",
        ),
        (
            {"dpo": {"loss": "apo_zero", "trainer_args": {"f_divergence_type": "js_divergence"}}},
            "dpo.trainer_args.f_divergence_type",
            "apo_zero has no form for js_divergence",
        ),
        (
            {"dpo": {"trainer_args": {"f_divergence_type": "foward_kl"}}},
            "dpo.trainer_args.f_divergence_type",
            "did you mean 'forward_kl'?",
        ),
        (
            {"dpo": {"loss": "aot", "trainer_args": {"use_weighting": True}}},
            "dpo.trainer_args.use_weighting",
            "aot sorts its pairs",
        ),
        (
            {"dpo": {"loss": ["sigmoid", "sft"], "trainer_args": {"use_weighting": True}}},
            "dpo.trainer_args.use_weighting",
            "cannot weigh pairs",
        ),
        (
            {"dpo": {"trainer_args": {"ld_alpha": 1.5}}},
            "dpo.trainer_args.ld_alpha",
            "a number from 0 to 1, not 1.5",
        ),
        ({"dpo": {"reference": "adapter"}}, "dpo.reference", "needs an adapter"),
        (
            {"sft": {"trainer_args": {"learning_rate": 1}}},
            "sft.trainer_args.learning_rate",
            "is decided by sft.learning_rate",
        ),
        (
            {"dpo": {"trainer_args": {"adam_bta1": 1}}},
            "dpo.trainer_args.adam_bta1",
            "did you mean 'adam_beta1'?",
        ),
        (
            {"sft": {"trainer_args": {"hub_token": "x"}}},
            "sft.trainer_args.hub_token",
            "a secret never stands in a file",
        ),
        (
            {"data": {"sft": {"train": [{"path": "a", "format": "mesages"}]}}},
            "data.sft.train.0.format",
            "did you mean 'messages'?",
        ),
        (
            {"data": {"sft": {"train": [{"path": "a"}], "test": [{"path": "a"}]}}},
            "data.sft.test.0",
            "is also a source of data.sft.train",
        ),
        ({"eval": {"baseline": "sftt"}}, "eval.baseline", "did you mean 'sft'?"),
        ({"eval": {"models": ["sft", "sft"]}}, "eval.models", "names 'sft' twice"),
        ({"eval": {"models": []}}, "eval.models", "empty"),
        (
            {"eval": {"benchmarks": ["mt-bench"], "models": ["dpo"], "mt_bench": {"mode": "pair"}}},
            "eval.mt_bench.mode",
            "compares two models",
        ),
        ({"eval": {"judge": {"prompt_price": 2.5}}}, "eval.judge.prompt_price", "is missing"),
        (
            {"eval": {"judge": {"spec": "openai+https://u:p@h/v1:m"}}},
            "eval.judge.spec",
            "holds a password",
        ),
        (
            {"eval": {"judge": {"spec": "openai+https://sk-token@h/v1:m"}}},
            "eval.judge.spec",
            "holds a password or key",
        ),
        ({"model": {"chat_template": "zephir"}}, "model.chat_template", "did you mean 'zephyr'?"),
        ({"launch": {"gpus": []}}, "launch.gpus", "empty list"),
        ({"launch": {"gpus": [0, 0]}}, "launch.gpus", "different indices"),
        ({"launch": {"gpus": [-1]}}, "launch.gpus", "different indices"),
        (
            {"launch": {"gpus": [0, 1], "strategy": "single"}},
            "launch.strategy",
            "asks for several processes",
        ),
        (
            {"launch": {"gpus": "none", "cpu_processes": 2, "strategy": "single"}},
            "launch.strategy",
            "asks for several processes",
        ),
        ({"model": {"base": " "}}, "model.base", "is empty"),
    ],
)
def test_contradictions_are_found_and_placed(values, path, words):
    findings = check(Recipe.model_validate(values))

    assert words in findings[0].message
    assert findings[0].paths[0] == path


@pytest.mark.parametrize("loss", ["simpo", ["simpo"]])
def test_simpo_alone_contradicts_nothing(loss):
    assert check(Recipe.model_validate({"dpo": {"loss": loss, "beta": 2.0}})) == []


def test_the_defaults_contradict_nothing():
    assert check(Recipe()) == []


def test_what_is_allowed_together_is_left_alone():
    recipe = Recipe.model_validate(
        {
            "model": {"load_in_4bit": True, "dtype": "bfloat16"},
            "sft": {"adapter": {"type": "lora"}, "trainer_args": {"adam_beta1": 0.8}},
            "dpo": {
                "adapter": {"type": "dora"},
                "loss": ["sigmoid", "sft"],
                "loss_weights": [1.0, 0.1],
                "global_batch_size": 8,
                "micro_batch_size": 4,
            },
            "data": {
                "sft": {
                    "train": [{"path": "a", "split": "train"}],
                    "test": [{"path": "a", "split": "test"}],
                },
                "dpo": {"binarize": {"preset": "h4-2024"}},
            },
            "eval": {"baseline": "base"},
            "launch": {"gpus": [0, 1], "strategy": "ddp"},
        }
    )

    assert check(recipe) == []


def test_what_is_wrong_with_the_model_is_said_once_for_both_stages() -> None:
    lora = {"adapter": {"type": "lora"}}
    recipe = Recipe.model_validate(
        {
            "model": {"load_in_4bit": True},
            "sft": lora,
            "dpo": lora,
            "launch": {"strategy": "fsdp2"},
        }
    )
    said = [f for f in check(recipe) if f.message == "4-bit weights cannot be shared out by fsdp2"]
    assert len(said) == 1
