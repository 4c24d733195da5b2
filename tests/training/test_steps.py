"""A step is the mean over its examples, however they are split into passes and laid out."""

from typing import Any

import pytest

from zephyrctl.runs.atomic import read_jsonl
from zephyrctl.training import trainer

pytestmark = pytest.mark.train

ONE_PASS = {"micro_batch_size": 8}
SPLITS: dict[str, dict[str, Any]] = {
    "one at a time": {"micro_batch_size": 1},
    "by tokens": {"micro_batch_tokens": 70},
    "by tokens, prompts twice": {"micro_batch_tokens": 70, "prefix_sharing": False},
    "padded, by tokens": {"micro_batch_tokens": 120, "padding_free": False},
}
LOSSES: dict[str, dict[str, Any]] = {
    "sigmoid": {},
    "with sft": {"loss": ["sigmoid", "sft"], "loss_weights": [1.0, 0.3]},
    "simpo": {"loss": "simpo"},
}


def records(run: Any, stage: str) -> list[dict[str, float]]:
    """Training records of every step."""
    return [
        record["values"]
        for record in read_jsonl(run.stage(stage).metrics_path)
        if record["kind"] == "metrics" and record["split"] == "train"
    ]


SAME_FOR_DPO = (
    "loss", "grad_norm", "entropy", "mean_token_accuracy", "logits/chosen", "logits/rejected",
    "rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins", "logps/chosen",
    "logps/rejected",
)  # fmt: skip


@pytest.mark.parametrize("loss", LOSSES)
def test_a_preference_step_does_not_depend_on_its_split(
    make_run: Any, train_dpo: Any, loss: str
) -> None:
    fixed = {
        "init_from": "base",
        "global_batch_size": 8,
        "epochs": 2,
        "max_grad_norm": 1e6,
        "max_length": 128,
    }
    found = {}
    chosen = SPLITS if loss == "sigmoid" else dict(list(SPLITS.items())[1:2])
    for name, split in {"whole": ONE_PASS, **chosen}.items():
        recipe, run = make_run(
            name.replace(" ", "-").replace(",", ""), unequal=True, dpo=fixed | LOSSES[loss] | split
        )
        metrics = train_dpo(recipe, run).metrics
        found[name] = records(run, "dpo")
        passes = metrics["accumulation_steps"]
        assert passes > 1 if name != "whole" else passes == 1
    for name in chosen:
        for whole, split in zip(found["whole"], found[name], strict=True):
            for key in SAME_FOR_DPO:
                assert split[key] == pytest.approx(whole[key], rel=2e-5, abs=2e-6), (name, key)


def test_a_step_of_dialogues_does_not_depend_on_its_split(make_run: Any, train_sft: Any) -> None:
    fixed = {"global_batch_size": 8, "epochs": 2, "max_grad_norm": 1e6, "max_length": 128}
    found = {}
    for name, split in {
        "whole": ONE_PASS, "one": {"micro_batch_size": 1}, "tokens": {"micro_batch_tokens": 60},
        "padded": {"micro_batch_tokens": 100, "padding_free": False},
    }.items():  # fmt: skip
        recipe, run = make_run(name, unequal=True, sft=fixed | split)
        passes = train_sft(recipe, run).metrics["accumulation_steps"]
        assert passes > 1 if name != "whole" else passes == 1
        found[name] = records(run, "sft")
    for name in ("one", "tokens", "padded"):
        for whole, split in zip(found["whole"], found[name], strict=True):
            for key in ("loss", "grad_norm", "num_tokens"):
                assert split[key] == pytest.approx(whole[key], rel=2e-5), (name, key)


def test_two_processes_with_passes_by_tokens_take_the_same_steps(make_run: Any, drill: Any) -> None:
    settings = {
        "init_from": "base",
        "global_batch_size": 8,
        "epochs": 2,
        "micro_batch_tokens": 70,
        "max_length": 128,
    }
    _, one = make_run("one", unequal=True, dpo=settings | {"loss": ["sigmoid", "sft"]})
    _, two = make_run("two", unequal=True, dpo=settings | {"loss": ["sigmoid", "sft"]})

    assert drill(one, "dpo") == [0]
    assert drill(two, "dpo", ranks=2) == [0, 0]

    for alone, shared in zip(records(one, "dpo"), records(two, "dpo"), strict=True):
        for key in SAME_FOR_DPO:
            assert shared[key] == pytest.approx(alone[key], rel=2e-5, abs=2e-6), key


@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_trying_the_largest_pass_leaves_the_training_as_it_was(
    make_run: Any, train_sft: Any, train_dpo: Any, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {
        "micro_batch_tokens": 70, "global_batch_size": 8, "epochs": 3, "max_length": 128,
        "adapter": {"type": "lora", "dropout": 0.2},
    }  # fmt: skip
    tried: list[str] = []
    rehearse = trainer.HouseTrainer._rehearse

    def counted(self: Any, number: int) -> float:
        tried.append(name)
        return rehearse(self, number)

    found = []
    for name, always in (("plain", False), ("tried", True)):
        recipe, run = make_run(
            name,
            unequal=True,
            **{stage: settings | ({"init_from": "base"} if stage == "dpo" else {})},
        )
        with monkeypatch.context() as patch:
            patch.setattr(trainer.HouseTrainer, "_rehearses", always)
            patch.setattr(trainer.HouseTrainer, "_rehearse", counted)
            {"sft": train_sft, "dpo": train_dpo}[stage](recipe, run)
        found.append(
            [{k: v for k, v in r.items() if "per_second" not in k} for r in records(run, stage)]
        )
    assert found[0] == found[1]
    # The first pass before the first step always, the largest one before the second where asked.
    assert tried == ["plain", "tried", "tried"]
