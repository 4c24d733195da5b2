"""SimPO of the tiny model: the formula, and training without a reference."""

from typing import Any

import numpy as np
import pytest
import torch
from trl.trainer.dpo_trainer import DPOTrainer

from zephyrctl.errors import JobFailed
from zephyrctl.runs.atomic import read_jsonl
from zephyrctl.training import losses, reference
from zephyrctl.training.simpo import pair_metrics

pytestmark = pytest.mark.train

SIMPO = {"init_from": "base", "loss": "simpo", "beta": 2.0, "simpo_gamma_ratio": 0.8}


def course(run: Any, split: str, name: str) -> list[float]:
    return [
        r["values"][name]
        for r in read_jsonl(run.stage("dpo").metrics_path)
        if r["kind"] == "metrics" and r["split"] == split
    ]


def random_pairs(rows: int = 50) -> np.ndarray:
    """`(N, 4)`: summed log-probs chosen and rejected, tokens chosen and rejected."""
    random = np.random.default_rng(0)
    tokens = random.integers(1, 300, size=(rows, 2))
    sums = -random.uniform(0.1, 4.0, size=(rows, 2)) * tokens
    return np.concatenate((sums, tokens), axis=1)


def by_hand(pairs: np.ndarray, *, beta: float, gamma: float) -> np.ndarray:
    """Equation 6 of arXiv 2405.14734 in float64, `(N,)`."""
    means = pairs[:, :2] / pairs[:, 2:]
    logits = beta * means[:, 0] - beta * means[:, 1] - gamma
    return -np.log(1.0 / (1.0 + np.exp(-logits)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("beta", "ratio"), [(2.0, 0.8), (2.5, 0.0), (10.0, 0.5)])
def test_the_loss_is_equation_6(dtype: torch.dtype, beta: float, ratio: float) -> None:
    pairs = random_pairs()
    columns = torch.tensor(pairs, dtype=dtype).unbind(dim=1)
    found, chosen, rejected = losses.simpo(*columns, beta=beta, gamma_ratio=ratio)
    exact = 1e-5 if dtype == torch.float32 else 1e-12
    assert found.numpy() == pytest.approx(by_hand(pairs, beta=beta, gamma=ratio * beta), rel=exact)
    assert chosen.numpy() == pytest.approx(beta * pairs[:, 0] / pairs[:, 2], rel=exact)
    assert rejected.numpy() == pytest.approx(beta * pairs[:, 1] / pairs[:, 3], rel=exact)


def test_length_alone_earns_nothing() -> None:
    short, long = torch.tensor([-6.0]), torch.tensor([-60.0])
    few, many = torch.tensor([3]), torch.tensor([30])
    found, chosen, rejected = losses.simpo(short, long, few, many, beta=2.0, gamma_ratio=0.0)
    assert chosen.item() == rejected.item()
    assert found.item() == pytest.approx(np.log(2))


def test_the_gradient_is_shared_by_the_tokens() -> None:
    sums = torch.tensor([-6.0, -60.0], requires_grad=True)
    tokens = torch.tensor([3, 30])
    found, *_ = losses.simpo(sums[:1], sums[1:], tokens[:1], tokens[1:], beta=2.0, gamma_ratio=0.8)
    found.sum().backward()
    slope = 1 / (1 + np.exp(-1.6))  # 1 − σ(−γ), where both means are equal
    assert sums.grad is not None
    assert sums.grad.tolist() == pytest.approx([-slope * 2 / 3, slope * 2 / 30])


def test_metrics_of_pairs_are_exact() -> None:
    found = pair_metrics([[-2.0, -9.0, 2, 3], [-4.0, -4.0, 4, 4]], beta=2.0)
    assert found["rewards/chosen"] == -2.0
    assert found["rewards/rejected"] == -4.0
    assert found["rewards/margins"] == 2.0
    assert found["rewards/accuracies"] == 0.5  # equal rewards are not right
    assert (found["logps/chosen"], found["logps/rejected"]) == (-3.0, -6.5)


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
    assert not (run.stage("dpo").path / "reference").exists()
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


def test_adapters_train_without_a_reference(make_run: Any, train_dpo: Any) -> None:
    adapter = {"type": "lora", "r": 4}
    recipe, run = make_run(dpo=SIMPO | {"adapter": adapter, "epochs": 3, "learning_rate": 1e-2})
    metrics = train_dpo(recipe, run).metrics
    assert metrics["eval_loss"] < metrics["eval_loss_start"]
    assert not (run.stage("dpo").path / "reference").exists()


def test_a_published_model_that_is_another_is_refused(
    make_run: Any, train_dpo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zephyrctl.training import publish

    honest = publish._load_again

    def spoiled(*args: Any, **options: Any) -> Any:
        model = honest(*args, **options)
        model.lm_head.weight.data.mul_(0.5)
        return model

    monkeypatch.setattr(publish, "_load_again", spoiled)
    recipe, run = make_run(dpo=SIMPO | {"max_steps": 1})
    with pytest.raises(JobFailed, match="the published model is not the trained one"):
        train_dpo(recipe, run)
