"""DPO of the tiny model."""

import math
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from zephyrctl.errors import ConfigError, JobFailed
from zephyrctl.runs.atomic import read_jsonl
from zephyrctl.training.dpo import Method
from zephyrctl.training.scoring import token_losses

pytestmark = pytest.mark.train

FROM_BASE = {"init_from": "base", "epochs": 3}


def course(run: Any, split: str, name: str) -> list[float]:
    return [
        r["values"][name]
        for r in read_jsonl(run.stage("dpo").metrics_path)
        if r["kind"] == "metrics" and r["split"] == split
    ]


def test_the_margin_rises_from_exactly_nothing(make_run: Any, train_dpo: Any) -> None:
    recipe, run = make_run(dpo=FROM_BASE)
    metrics = train_dpo(recipe, run).metrics
    assert course(run, "train", "loss")[0] == pytest.approx(math.log(2), abs=1e-4)
    assert course(run, "train", "rewards/margins")[0] == pytest.approx(0.0, abs=1e-4)
    assert course(run, "eval", "loss")[0] == pytest.approx(math.log(2), abs=1e-6)
    assert metrics["reward_accuracy"] == 1.0
    assert metrics["reward_margin"] > 1.0
    assert metrics["eval_loss"] < 0.3
    assert metrics["chosen_logps"] > metrics["rejected_logps"]


def test_swapped_labels_teach_the_opposite(make_run: Any, train_dpo: Any) -> None:
    recipe, right = make_run("right")
    swapped, run = make_run("swapped", dpo=FROM_BASE, flip=True)
    train_dpo(swapped, run)
    pairs = Method(recipe).load(right).test.to_list()
    model = AutoModelForCausalLM.from_pretrained(run.stage("dpo").model)
    base = AutoModelForCausalLM.from_pretrained(recipe.model.base)
    moved = {}
    for answer in ("chosen_ids", "rejected_ids"):
        documents = [
            (row["prompt_ids"] + row[answer], [-100] * len(row["prompt_ids"]) + row[answer])
            for row in pairs
        ]
        after, before = token_losses(model, documents)[0], token_losses(base, documents)[0]
        moved[answer] = sum(before) - sum(after)
    assert moved["rejected_ids"] - moved["chosen_ids"] > len(pairs)


def test_a_wrong_reference_is_found_before_the_first_step(
    make_run: Any, train_dpo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zephyrctl.training import reference

    honest = reference.Source.log_probs

    def shifted(self: Any, rows: Any, **options: Any) -> Any:
        found = honest(self, rows, **options)
        return {name: [v - 3.0 * (name == reference.CHOSEN) for v in found[name]] for name in found}

    monkeypatch.setattr(reference.Source, "log_probs", shifted)
    recipe, run = make_run(dpo=FROM_BASE)
    with pytest.raises(JobFailed, match="policy and reference are not the same model"):
        train_dpo(recipe, run)


def test_the_weights_are_not_digested_once_more(
    make_run: Any, train_dpo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def digest(module: Any) -> str:
        raise AssertionError("TRL digested the weights")

    monkeypatch.setattr("trl.trainer.dpo_trainer.hash_module", digest)
    recipe, run = make_run(dpo=FROM_BASE | {"max_steps": 1})
    train_dpo(recipe, run)


def test_what_trl_refuses_is_a_wrong_setting(make_run: Any, train_dpo: Any) -> None:
    recipe, run = make_run(dpo=FROM_BASE | {"trainer_args": {"router_aux_loss_coef": 0.1}})
    with pytest.raises(ConfigError, match="not a Mixture-of-Experts model"):
        train_dpo(recipe, run)


@pytest.mark.parametrize("loss", ["ipo", ["sigmoid", "sft"]])
def test_other_losses_train(make_run: Any, train_dpo: Any, loss: Any) -> None:
    recipe, run = make_run(dpo=FROM_BASE | {"loss": loss, "epochs": 2})
    metrics = train_dpo(recipe, run).metrics
    assert metrics["reward_margin"] > 0
    assert metrics["eval_loss"] < metrics["eval_loss_start"]
