"""Packed pairs under the real DPOTrainer, against the same trainer on padded batches."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from tests.training.tiny_pairs import SIZES, gradients, relative
from torch import nn
from transformers import MistralConfig, MistralForCausalLM
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from zephyrctl.config.schema.training import DpoLoss
from zephyrctl.data.tokenizers import load_tokenizer
from zephyrctl.training import prefix_sharing
from zephyrctl.training.fused_head import labelled_positions_only
from zephyrctl.training.prefix_sharing import PairCollator

LOSSES = sorted(set(get_args(DpoLoss)) - {"simpo", "rdpo"})
WORDS = ["give", "Amir", "some", "red", "fruit", "and", "then", "politely", "ask", "Bela", "too"]
LENGTHS = [(3, 9, 4), (1, 2, 6), (8, 1, 1), (5, 5, 7), (2, 12, 1), (6, 3, 3)]
"""Words of prompt, chosen and rejected."""

Pair = tuple[DPOTrainer, DPOTrainer]
Make = Callable[..., Pair]


def texts() -> Dataset:
    def words(first: int, count: int) -> str:
        return " " + " ".join((WORDS * 3)[first : first + count])

    return Dataset.from_list(
        [
            {"prompt": words(n, p), "chosen": words(n + 3, c), "rejected": words(n + 7, r)}
            for n, (p, c, r) in enumerate(LENGTHS)
        ]
    )


def policy(*, vocabulary: int, **changes: Any) -> MistralForCausalLM:
    torch.manual_seed(0)
    sizes = SIZES | {"vocab_size": vocabulary, "sliding_window": None} | changes
    return MistralForCausalLM(MistralConfig(**sizes))


def nearby(model: MistralForCausalLM) -> MistralForCausalLM:
    """A reference as a policy leaves it: near enough for margins of about a nat."""
    near = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(1)
    for weight in near.parameters():
        weight.data += 0.02 * torch.randn(weight.shape, generator=generator)
    return near


@pytest.fixture(scope="module")
def tokenizer(tiny_base: Path) -> Any:
    return load_tokenizer(str(tiny_base), chat_template="zephyr")


@pytest.fixture(scope="module")
def make(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """TRL's own trainer twice, of equal weights: padded, and over packed rows."""
    folder = tmp_path_factory.mktemp("trl")

    def trainers(
        model: nn.Module, reference: nn.Module | None = None, *, share: bool = True, **told: Any
    ) -> Pair:
        settings = {
            "output_dir": str(folder), "report_to": "none", "use_cpu": True, "bf16": False,
            "beta": 0.3, "learning_rate": 0.05, "max_length": None, "disable_tqdm": True,
            "per_device_train_batch_size": len(LENGTHS), "gradient_checkpointing": False,
        }  # fmt: skip
        made = [
            DPOTrainer(
                model=copy.deepcopy(model),  # type: ignore[arg-type]
                ref_model=copy.deepcopy(reference),  # type: ignore[arg-type]
                args=DPOConfig(**settings | told),
                train_dataset=texts(),
                processing_class=tokenizer,
            )
            for _ in range(2)
        ]
        pack(made[1], pad=tokenizer.pad_token_id, share=share)
        return made[0], made[1]

    return trainers


def pack(trainer: DPOTrainer, *, pad: int, share: bool) -> None:
    trainer.data_collator = PairCollator(pad_token_id=pad, share=share)
    prefix_sharing.install(trainer.model)
    if trainer.ref_model is not None:
        prefix_sharing.install(trainer.ref_model)


def step(
    trainer: DPOTrainer,
) -> tuple[torch.Tensor, dict[str, torch.Tensor], dict[str, list[float]]]:
    """Loss, gradients and metrics of one batch with every pair."""
    trainer.model.train()
    trainer.model.zero_grad()
    trainer._metrics["train"].clear()
    trainer._total_train_tokens = 0
    batch = trainer.data_collator([trainer.train_dataset[n] for n in range(len(LENGTHS))])
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    return loss.detach(), gradients(trainer.model), dict(trainer._metrics["train"])


def assert_same(trainers: Pair) -> None:
    (loss, grads, metrics), (own_loss, own_grads, own_metrics) = (step(t) for t in trainers)
    torch.testing.assert_close(own_loss, loss, rtol=1e-6, atol=1e-7)
    assert own_grads.keys() == grads.keys()
    assert any(gradient.any() for gradient in grads.values())
    for name, gradient in own_grads.items():
        assert relative(gradient, grads[name]) < 1e-5, name
    assert own_metrics.keys() == metrics.keys()
    assert len(metrics) >= 11
    for name, values in own_metrics.items():
        assert values == pytest.approx(metrics[name], rel=1e-5, abs=1e-5), name


@pytest.fixture(scope="module")
def dense(make: Make, tokenizer: Any) -> Pair:
    model = policy(vocabulary=len(tokenizer))
    return make(model, nearby(model), use_weighting=True)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_is_that_of_padded_batches(dense: Pair, loss: str) -> None:
    for trainer in dense:
        trainer.loss_types, trainer.loss_weights = [loss], [1.0]
        trainer.label_smoothing = 0.1
        trainer.use_weighting = False
    assert_same(dense)


@pytest.mark.parametrize(
    "changes",
    [
        {"use_weighting": True},
        {"ld_alpha": 0.4},
        {"loss_types": ["sigmoid", "sft"], "loss_weights": [0.7, 0.2]},
        {"f_divergence_type": "js_divergence"},
    ],
    ids=["WPO weighting", "ld_alpha", "two losses", "divergence"],
)
def test_every_form_of_the_loss_is_that_of_padded_batches(
    dense: Pair, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"loss_types": ["sigmoid"], "loss_weights": [1.0], "use_weighting": False} | changes
    for trainer in dense:
        for name, value in changes.items():
            monkeypatch.setattr(trainer, name, value)
    assert_same(dense)


def test_scoring_labelled_rows_alone_changes_nothing(dense: Pair) -> None:
    padded, packed = dense
    expected = step(padded)
    with labelled_positions_only("cpu"):
        loss, found, metrics = step(packed)
    torch.testing.assert_close(loss, expected[0], rtol=1e-6, atol=1e-7)
    assert max(relative(found[name], expected[1][name]) for name in found) < 1e-5
    assert metrics["entropy"] == pytest.approx(expected[2]["entropy"], rel=1e-5)


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("reentrant", [None, True, False])
def test_windows_and_checkpointing(
    make: Make, tokenizer: Any, reentrant: bool | None, share: bool
) -> None:
    model = policy(vocabulary=len(tokenizer), sliding_window=5)
    trainers = make(model, nearby(model), share=share)
    if reentrant is not None:
        for trainer in trainers:
            trainer.model.activation_checkpointing_enable({"use_reentrant": reentrant})
    assert_same(trainers)


@pytest.mark.parametrize("dora", [False, True])
def test_an_adapter_over_its_own_base(make: Make, tokenizer: Any, dora: bool) -> None:
    model = policy(vocabulary=len(tokenizer))
    trainers = make(adapted(model, drawn=False, use_dora=dora), loss_type=["robust"])
    for trainer in trainers:
        draw_adapter(trainer.model, seed=7)
    assert_same(trainers)


def test_an_adapter_over_a_frozen_one(make: Make, tokenizer: Any) -> None:
    """TRL keeps a copy of the given adapter under the name `ref`."""
    trainers = make(adapted(policy(vocabulary=len(tokenizer)), drawn=True))
    for trainer in trainers:
        assert "ref" in trainer.model.peft_config
        draw_adapter(trainer.model, seed=8)
    assert_same(trainers)


def test_log_probs_of_the_reference_are_the_same_beforehand(make: Make, tokenizer: Any) -> None:
    trainers = make(policy(vocabulary=len(tokenizer)), precompute_ref_log_probs=True)
    padded, packed = trainers
    batch = packed.data_collator([packed.train_dataset[n] for n in range(len(LENGTHS))])
    found = packed.compute_ref_log_probs(packed.model, batch)
    for name, column in zip(("chosen", "rejected"), found, strict=True):
        known = torch.tensor(padded.train_dataset[f"ref_{name}_logps"])
        torch.testing.assert_close(column, known, rtol=1e-6, atol=1e-6)
    for trainer in trainers:
        with torch.no_grad():
            trainer.model.lm_head.weight.mul_(1.1)
    assert_same(trainers)


def test_steps_with_accumulation_end_at_the_same_weights(make: Make, tokenizer: Any) -> None:
    """Two optimizer steps of two passes each, with checkpointing, as TRL runs them."""
    model = policy(vocabulary=len(tokenizer))
    padded, packed = make(
        model, nearby(model), max_steps=2, per_device_train_batch_size=2,
        gradient_accumulation_steps=2, gradient_checkpointing=True, optim="sgd",
        logging_steps=1, save_strategy="no",
    )  # fmt: skip
    for trainer in (padded, packed):
        trainer.train()
    timings = {"train_runtime", "train_samples_per_second", "train_steps_per_second"}
    for right, own in zip(padded.state.log_history, packed.state.log_history, strict=True):
        assert own.keys() == right.keys()
        for name in right.keys() - timings:
            assert own[name] == pytest.approx(right[name], rel=1e-5, abs=1e-5), name
    start = model.state_dict()
    ends = [trainer.model.state_dict() for trainer in (padded, packed)]
    assert any(not torch.allclose(ends[0][name], start[name], atol=1e-3) for name in start)
    for name, weight in ends[1].items():
        assert relative(weight, ends[0][name]) < 1e-5, name


def adapted(model: nn.Module, *, drawn: bool, **changes: Any) -> Any:
    config = LoraConfig(
        task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "up_proj"],
        **changes,
    )  # fmt: skip
    wrapped = get_peft_model(model, config)  # type: ignore[arg-type]
    if drawn:
        draw_adapter(wrapped, seed=3)
    return wrapped


def draw_adapter(model: nn.Module, *, seed: int) -> None:
    """An adapter begins as nothing; one that was trained is something."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        if "lora_B.default" in name:
            weight.data.normal_(std=0.3, generator=generator)
