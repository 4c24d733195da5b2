"""Losses that TRL lacks: what they reward, and training with and without a reference."""

from typing import Any

import numpy as np
import pytest
import torch
from trl.trainer.dpo_trainer import DPOTrainer

from zephyrctl.config.schema.training import Dpo
from zephyrctl.runs.atomic import read_jsonl
from zephyrctl.training import losses, reference
from zephyrctl.training.own_loss import score
from zephyrctl.training.pairs import Pairs

pytestmark = pytest.mark.train

SIMPO = {"init_from": "base", "loss": "simpo", "beta": 2.0, "simpo_gamma_ratio": 0.8}


def course(run: Any, split: str, name: str) -> list[float]:
    return [
        r["values"][name]
        for r in read_jsonl(run.stage("dpo").metrics_path)
        if r["kind"] == "metrics" and r["split"] == split
    ]


def scored(rows: Any, *, loss: str = "simpo", **settings: Any) -> Any:
    """Losses and rewards of rows `(N, 6)`: log-probs, those of the reference, tokens."""
    given = Dpo.model_validate({"loss": loss, **settings})
    return score(Pairs.of_table(rows), given)


def test_length_alone_earns_nothing() -> None:
    found = scored([[-6.0, -60.0, 0, 0, 3, 30]], beta=2.0, simpo_gamma_ratio=0.0)
    assert found.chosen_rewards.item() == found.rejected_rewards.item() == -4.0
    assert found.losses.item() == pytest.approx(np.log(2))


def test_the_gradient_is_shared_by_the_tokens() -> None:
    sums = torch.tensor([-6.0, -60.0], requires_grad=True)
    none, few, many = torch.zeros(1), torch.tensor([3]), torch.tensor([30])
    pairs = Pairs(sums[:1], sums[1:], none, none, few, many)
    settings = Dpo(loss="simpo", beta=2.0, simpo_gamma_ratio=0.8)
    losses.simpo(pairs, settings).losses.sum().backward()
    slope = 1 / (1 + np.exp(-1.6))  # 1 − σ(−γ), where both means are equal
    assert sums.grad is not None
    assert sums.grad.tolist() == pytest.approx([-slope * 2 / 3, slope * 2 / 30])


def test_what_length_explains_is_not_learned() -> None:
    rows = [[-30.0, -10.0, -30.0, -10.0, 30, 10], [-10.0, -30.0, -10.0, -30.0, 10, 30]]
    longer, shorter = scored(rows, loss="rdpo", beta=0.1, rdpo_alpha=0.05).losses.tolist()
    # With the policy at the reference: α(|y_w| − |y_l|) = ±1.
    assert longer == pytest.approx(np.log1p(np.exp(-1)))
    assert shorter == pytest.approx(np.log1p(np.exp(1)))
    same = scored(rows, loss="rdpo", beta=0.1, rdpo_alpha=0.0)
    assert same.losses.tolist() == pytest.approx([np.log(2)] * 2)
    assert same.chosen_rewards.tolist() == [0.0, 0.0]


def test_the_margin_rises_without_any_reference(
    make_run: Any, train_dpo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*args: Any, **options: Any) -> Any:
        raise AssertionError("a reference was asked")

    monkeypatch.setattr(reference.Source, "log_probs", asked)
    monkeypatch.setattr(reference, "frozen_copy", asked)
    monkeypatch.setattr(DPOTrainer, "compute_ref_log_probs", asked)
    monkeypatch.setattr("trl.trainer.dpo_trainer.create_model_from_path", asked)
    recipe, run = make_run(dpo=SIMPO | {"epochs": 10})
    metrics = train_dpo(recipe, run).metrics

    assert metrics["steps"] == 20
    margins = course(run, "eval", "rewards/margins")
    assert len(margins) == 2
    assert margins[1] > margins[0] + 0.5
    assert metrics["eval_loss"] < metrics["eval_loss_start"]
    assert metrics["reward_margin"] == pytest.approx(margins[1])
    assert metrics["chosen_rewards"] > metrics["rejected_rewards"]
    # What TRL records for a batch speaks of the same rewards: the first batch is untrained.
    assert course(run, "train", "rewards/margins")[0] == pytest.approx(margins[0], abs=0.3)
    assert (run.stage("dpo").model / "model.safetensors").is_file()


def test_training_and_evaluation_take_the_same_loss(make_run: Any, train_dpo: Any) -> None:
    # All eight pairs in one batch that moves nothing: the split is also the held-out one.
    still = {"global_batch_size": 8, "max_steps": 1, "learning_rate": 1e-12}
    recipe, run = make_run(dpo=SIMPO | still)
    train_dpo(recipe, run)
    for name in ("loss", "rewards/chosen", "rewards/rejected", "rewards/margins", "logps/chosen"):
        trained, evaluated = course(run, "train", name)[0], course(run, "eval", name)[0]
        assert trained == pytest.approx(evaluated, rel=1e-4)


def test_length_is_penalised_in_training(make_run: Any, train_dpo: Any) -> None:
    # All chosen answers are the shorter ones here; an α as large as this explains nothing of them.
    rewarded = {}
    for alpha, how in ((0.0, "precompute"), (0.5, "copy")):
        settings = {"init_from": "base", "loss": "rdpo", "rdpo_alpha": alpha, "reference": how}
        recipe, run = make_run(how, dpo=settings | {"epochs": 3})
        metrics = train_dpo(recipe, run).metrics
        assert metrics["eval_loss"] < metrics["eval_loss_start"]
        assert course(run, "eval", "rewards/margins")[0] == pytest.approx(0.0, abs=1e-5)
        rewarded[alpha] = metrics["reward_margin"]
    assert rewarded[0.5] > rewarded[0.0] > 0.5


def test_adapters_train_without_a_reference(make_run: Any, train_dpo: Any) -> None:
    adapter = {"type": "lora", "r": 4}
    recipe, run = make_run(dpo=SIMPO | {"adapter": adapter, "max_steps": 3, "learning_rate": 1e-2})
    metrics = train_dpo(recipe, run).metrics
    assert metrics["eval_loss"] < metrics["eval_loss_start"]
