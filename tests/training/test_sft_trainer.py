"""SftTrainer against TRL's own, and against itself on other splits and packings of the same rows.

A tiny Mistral of random weights; nothing is published here.
"""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset, disable_progress_bars
from peft import LoraConfig, get_peft_model
from torch.nn.functional import cross_entropy
from transformers import (
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
)
from transformers.models.mistral import modeling_mistral
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from zephyrctl.data.tokenizers import load_tokenizer
from zephyrctl.errors import ConfigError
from zephyrctl.training import attention
from zephyrctl.training.documents import check_apart
from zephyrctl.training.fused_head import labelled_positions_only
from zephyrctl.training.micro_batches import MicroBatches
from zephyrctl.training.packing import pack
from zephyrctl.training.rows import IGNORED, lengths_of, with_labels
from zephyrctl.training.scoring import token_losses
from zephyrctl.training.sft import SftTrainer

pytestmark = pytest.mark.train

LENGTHS = [23, 5, 11, 2, 17, 9, 30, 13]


@pytest.fixture(scope="module", autouse=True)
def _as_in_training() -> Iterator[None]:
    disable_progress_bars()
    with labelled_positions_only("cpu"):
        yield


@pytest.fixture(scope="module")
def tokenizer(tiny_base: Path) -> Any:
    return load_tokenizer(str(tiny_base), chat_template="zephyr")


@pytest.fixture(scope="module")
def base(tokenizer: Any) -> MistralForCausalLM:
    return tiny_model(vocab_size=len(tokenizer))


def tiny_model(**settings: Any) -> MistralForCausalLM:
    torch.manual_seed(7)
    config = MistralConfig(
        **{
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 8,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128,
            "initializer_range": 0.3, "sliding_window": None, "tie_word_embeddings": False,
            "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2, **settings,
        }
    )  # fmt: skip
    return MistralForCausalLM(config)


def dialogues(lengths: list[int] = LENGTHS, *, loss_on: str = "assistant") -> Dataset:
    """Rows of random tokens, of which the latter two thirds are the assistant's."""
    rng = torch.Generator().manual_seed(3)
    rows = [
        {
            "input_ids": torch.randint(3, 300, (n,), generator=rng).tolist(),
            "assistant_mask": [int(i >= n // 3) for i in range(n)],
        }
        for n in lengths
    ]
    mask = "assistant_mask" if loss_on == "assistant" else None
    return with_labels(Dataset.from_list(rows), mask=mask)


def arguments(folder: Path, **settings: Any) -> SFTConfig:
    return SFTConfig(
        **{
            "output_dir": str(folder), "report_to": "none", "use_cpu": True, "bf16": False,
            "max_length": 64, "dataset_kwargs": {"skip_prepare_dataset": True},
            "gradient_checkpointing": False, "disable_tqdm": True, "max_steps": 1,
            "per_device_train_batch_size": 8, **settings,
        }
    )  # fmt: skip


def ours(model: Any, rows: Dataset, tokenizer: Any, folder: Path, **settings: Any) -> SftTrainer:
    """Our trainer over a copy of the model, padding-free unless `joins_rows=False`."""
    joins_rows = settings.pop("joins_rows", True)
    model = copy.deepcopy(model)
    if joins_rows:
        attention.install(model)
    trainer = SftTrainer(
        model=model,
        args=arguments(folder, **settings),
        train_dataset=rows,
        eval_dataset=rows,
        processing_class=tokenizer,
        joins_rows=joins_rows,
    )
    trainer.compute_metrics = trainer.exact_metrics  # type: ignore[assignment]
    return trainer


def theirs(model: Any, rows: Dataset, tokenizer: Any, folder: Path, **settings: Any) -> SFTTrainer:
    return SFTTrainer(
        model=copy.deepcopy(model),
        args=arguments(folder, **settings),
        train_dataset=rows,
        processing_class=tokenizer,
    )


def step(
    trainer: SFTTrainer, rows: Dataset, *, split: list[int] | None = None
) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of one optimizer step over all rows, in passes of so many rows each."""
    model: Any = trainer.model
    model.train()
    model.zero_grad()
    listed: list[Any] = rows.to_list()
    sizes = split or [len(listed)]
    assert sum(sizes) == len(listed)
    parts = [listed[sum(sizes[:i]) : sum(sizes[: i + 1])] for i in range(len(sizes))]
    passes = iter([trainer.data_collator(part) for part in parts])
    batches, items = trainer.get_batch_samples(passes, len(sizes), torch.device("cpu"))
    trainer.current_gradient_accumulation_steps = len(sizes)
    total = 0.0
    for batch in batches:
        loss: Any = trainer.compute_loss(model, batch, num_items_in_batch=items)
        loss.backward()
        total += float(loss.detach())
    grads = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return total, grads


def assert_same(
    found: tuple[float, dict[str, torch.Tensor]],
    expected: tuple[float, dict[str, torch.Tensor]],
    *,
    loss: float = 1e-6,
    gradients: float = 1e-5,
) -> None:
    """Loss within a relative error, each gradient within one of its own largest value."""
    assert found[0] == pytest.approx(expected[0], rel=loss)
    assert found[1].keys() == expected[1].keys()
    for name, wanted in expected[1].items():
        scale = wanted.abs().max().clamp(min=1e-8)
        assert ((found[1][name] - wanted).abs().max() / scale) <= gradients, name


def relative_distance(found: dict[str, Any], expected: dict[str, Any]) -> float:
    """Euclidean, over all gradients together."""
    apart = sum(float((found[name] - expected[name]).pow(2).sum()) for name in expected)
    return (apart / sum(float(grad.pow(2).sum()) for grad in expected.values())) ** 0.5


@pytest.mark.parametrize("loss_on", ["assistant", "all"])
@pytest.mark.parametrize("joins_rows", [True, False])
def test_loss_and_gradients_are_those_of_trl(
    base: Any, tokenizer: Any, tmp_path: Path, loss_on: str, joins_rows: bool
) -> None:
    rows = dialogues(loss_on=loss_on)
    mine = ours(base, rows, tokenizer, tmp_path, joins_rows=joins_rows)
    assert_same(step(mine, rows), step(theirs(base, rows, tokenizer, tmp_path), rows))


@pytest.mark.parametrize("strategy", ["bfd", "wrapped"])
def test_packed_rows_give_the_loss_and_gradients_of_trl(
    base: Any, tokenizer: Any, tmp_path: Path, strategy: Any
) -> None:
    rows = pack(dialogues(), strategy=strategy, max_length=32, seed=0).rows
    plain = theirs(base, rows, tokenizer, tmp_path, packing=True, packing_strategy=strategy)
    assert_same(step(ours(base, rows, tokenizer, tmp_path), rows), step(plain, rows))


def test_packed_equals_unpacked_equals_padded(base: Any, tokenizer: Any, tmp_path: Path) -> None:
    rows = dialogues()
    packed = pack(rows, strategy="bfd", max_length=64, seed=0).rows
    padded = step(ours(base, rows, tokenizer, tmp_path, joins_rows=False), rows)
    assert_same(step(ours(base, rows, tokenizer, tmp_path), rows), padded)
    assert_same(step(ours(base, packed, tokenizer, tmp_path), packed), padded)


def means(trainer: SFTTrainer) -> dict[str, float]:
    """The training metrics that TRL would log for this step."""
    found = {name: sum(values) / len(values) for name, values in trainer._metrics["train"].items()}
    trainer._metrics["train"].clear()
    trainer._total_train_tokens = 0
    return found


@pytest.mark.parametrize("joins_rows", [True, False])
@pytest.mark.parametrize("split", [[1] * 8, [5, 3], [1, 4, 2, 1]])
def test_a_step_is_the_same_however_it_is_split(
    base: Any, tokenizer: Any, tmp_path: Path, split: list[int], joins_rows: bool
) -> None:
    rows = dialogues()
    trainer = ours(base, rows, tokenizer, tmp_path, joins_rows=joins_rows)
    loss, gradients = step(trainer, rows, split=split)
    metrics = means(trainer)
    expected_loss, expected = step(trainer, rows)
    assert metrics == pytest.approx(means(trainer), rel=1e-5)
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    assert relative_distance(gradients, expected) <= 1e-6


def _norm_in_float64(self: Any, hidden_states: torch.Tensor) -> torch.Tensor:
    """RMSNorm without transformers' detour through float32."""
    variance = hidden_states.pow(2).mean(-1, keepdim=True)
    return self.weight * hidden_states * torch.rsqrt(variance + self.variance_epsilon)


@pytest.fixture
def exact(base: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The tiny model in float64, norms included."""
    monkeypatch.setattr(modeling_mistral.MistralRMSNorm, "forward", _norm_in_float64)
    return copy.deepcopy(base).double()


def plain_loss(model: Any, batch: dict[str, Any]) -> torch.Tensor:
    """Summed cross-entropy by the model's own logits; TRL's fused head would round to float32."""
    labels = batch.pop("labels")
    logits = model(**batch, use_cache=False).logits
    return cross_entropy(
        logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="sum"
    )


@pytest.mark.parametrize("packing", ["none", "bfd"])
def test_in_float64_a_joined_row_is_its_documents_one_by_one(
    exact: Any, tokenizer: Any, tmp_path: Path, packing: str
) -> None:
    rows = dialogues()
    joined = rows if packing == "none" else pack(rows, strategy="bfd", max_length=64, seed=0).rows
    trainer = ours(exact, joined, tokenizer, tmp_path)
    model: Any = trainer.model
    loss = plain_loss(model, trainer.data_collator(joined.to_list()))
    loss.backward()
    one_by_one = [
        plain_loss(exact, {name: torch.tensor([ids]) for name, ids in row.items()})
        for row in rows.to_list()
    ]
    total = torch.stack(one_by_one).sum()
    total.backward()
    expected = {name: weight.grad for name, weight in exact.named_parameters()}
    found = {name: weight.grad for name, weight in model.named_parameters()}
    assert_same(
        (float(loss.detach()), found),
        (float(total.detach()), expected),
        loss=1e-12,
        gradients=1e-12,
    )


@pytest.mark.parametrize("joins_rows", [True, False])
def test_experts_are_balanced_over_real_tokens_as_trl_does(
    tokenizer: Any, tmp_path: Path, joins_rows: bool
) -> None:
    torch.manual_seed(5)
    config = MixtralConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, num_local_experts=4, pad_token_id=2,
        initializer_range=0.3, router_aux_loss_coef=0.5, max_position_embeddings=128,
    )  # fmt: skip
    model = MixtralForCausalLM(config)
    rows = dialogues()
    mine = ours(model, rows, tokenizer, tmp_path, joins_rows=joins_rows)
    plain = theirs(model, rows, tokenizer, tmp_path)
    assert_same(step(mine, rows), step(plain, rows))
    assert mine.aux_loss_enabled
    assert means(mine)["aux_loss"] == pytest.approx(means(plain)["aux_loss"], rel=1e-5)


@pytest.mark.parametrize("use_dora", [False, True])
def test_an_adapter_gets_the_gradients_that_trl_gives_it(
    base: Any, tokenizer: Any, tmp_path: Path, use_dora: bool
) -> None:
    config = LoraConfig(
        r=4, target_modules=["q_proj", "down_proj"], use_dora=use_dora,
        init_lora_weights=False, task_type="CAUSAL_LM",
    )  # fmt: skip
    torch.manual_seed(11)
    peft: Any = get_peft_model(copy.deepcopy(base), config)
    rows = pack(dialogues(), strategy="bfd", max_length=64, seed=0).rows
    loss, gradients = step(
        theirs(peft, rows, tokenizer, tmp_path, packing=True, packing_strategy="bfd"), rows
    )
    gradients = {name.removeprefix("base_model.model."): g for name, g in gradients.items()}
    found = step(ours(peft.get_base_model(), rows, tokenizer, tmp_path), rows)
    assert len(gradients) == (12 if use_dora else 8)
    assert_same(found, (loss, gradients))


def test_recomputed_activations_change_nothing(base: Any, tokenizer: Any, tmp_path: Path) -> None:
    rows = dialogues()
    plain, recomputing = (ours(base, rows, tokenizer, tmp_path) for _ in range(2))
    recomputing.model.gradient_checkpointing_enable()
    assert_same(step(recomputing, rows), step(plain, rows))


@pytest.mark.parametrize("joins_rows", [True, False])
def test_tokens_are_counted_without_padding(
    base: Any, tokenizer: Any, tmp_path: Path, joins_rows: bool
) -> None:
    rows = dialogues()
    trainer = ours(base, rows, tokenizer, tmp_path, joins_rows=joins_rows)
    step(trainer, rows, split=[3, 5])
    assert trainer._metrics["train"]["num_tokens"] == [sum(LENGTHS)]


@pytest.mark.parametrize("joins_rows", [True, False])
@pytest.mark.parametrize("batch_size", [3, 8])
def test_held_out_metrics_are_exact_by_row(
    base: Any, tokenizer: Any, tmp_path: Path, joins_rows: bool, batch_size: int
) -> None:
    rows = dialogues()
    trainer = ours(
        base, rows, tokenizer, tmp_path,
        joins_rows=joins_rows, per_device_eval_batch_size=batch_size,
    )  # fmt: skip
    metrics = trainer.evaluate()
    documents = [(row["input_ids"], row["labels"]) for row in rows.to_list()]
    losses, tokens = token_losses(copy.deepcopy(base), documents)
    assert trainer.held_out.shape == (8, 4)
    assert trainer.held_out[:, 0].tolist() == pytest.approx(losses, rel=1e-5)
    assert trainer.held_out[:, 1].tolist() == tokens
    assert metrics["eval_loss"] == pytest.approx(sum(losses) / sum(tokens), rel=1e-6)
    assert metrics["eval_mean_token_accuracy"] == pytest.approx(right_tokens(base, rows))


def right_tokens(model: Any, rows: Dataset) -> float:
    """Share of the labels that the model ranks first."""
    right = total = 0
    for row in rows.to_list():
        labels = torch.tensor(row["labels"][1:])
        with torch.no_grad():
            best = model(input_ids=torch.tensor([row["input_ids"]])).logits[0, :-1].argmax(-1)
        right += int((best == labels).sum())
        total += int((labels != IGNORED).sum())
    return right / total


def test_documents_that_stay_apart_pass_the_check(
    base: Any, tokenizer: Any, tmp_path: Path
) -> None:
    rows = dialogues()
    packed = pack(rows, strategy="bfd", max_length=64, seed=0).rows
    for some, joins_rows, more in (
        (rows, True, {}),
        (packed, True, {}),
        (packed, False, {"packing": True, "packing_strategy": "bfd"}),  # by a dense mask
    ):
        trainer = ours(base, some, tokenizer, tmp_path, joins_rows=joins_rows, **more)
        assert trainer.padding_free
        assert check_apart(trainer, some, lengths_of(some, "input_ids")) < 1e-5


def test_a_model_whose_documents_see_each_other_is_refused(tokenizer: Any, tmp_path: Path) -> None:
    torch.manual_seed(1)
    config = MambaConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, state_size=8,
        initializer_range=0.3, pad_token_id=2, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    rows = pack(dialogues(), strategy="bfd", max_length=64, seed=0).rows
    trainer = ours(
        MambaForCausalLM(config), rows, tokenizer, tmp_path,
        joins_rows=False, packing=True, packing_strategy="bfd",
    )  # fmt: skip
    with pytest.raises(ConfigError, match="see each other under this model") as caught:
        check_apart(trainer, rows, lengths_of(rows, "input_ids"))
    assert caught.value.where == "sft.packing"
    assert "sft.packing=none" in str(caught.value.hint)


@pytest.mark.parametrize("joins_rows", [True, False])
def test_noise_follows_the_length_of_each_dialogue_and_is_on_in_training_only(
    base: Any, tokenizer: Any, tmp_path: Path, joins_rows: bool
) -> None:
    rows = dialogues()
    trainer = ours(
        base, rows, tokenizer, tmp_path, joins_rows=joins_rows, neftune_noise_alpha=5.0,
        learning_rate=0.0, eval_strategy="steps", eval_steps=1, per_device_eval_batch_size=8,
    )  # fmt: skip
    everything = list(range(len(rows)))
    trainer.passes = MicroBatches([everything], per_step=1, largest=8, most_tokens=sum(LENGTHS))
    model: Any = trainer.model
    seen: dict[bool, torch.Tensor] = {}

    def look(layer: Any, inputs: Any) -> None:
        seen[layer.training] = inputs[0].detach() - clean[0]

    clean: list[torch.Tensor] = []
    embeddings = model.get_input_embeddings()
    model.model.register_forward_pre_hook(
        lambda _, args, kwargs: clean.__setitem__(
            slice(None), [embeddings.weight[kwargs["input_ids"]]]
        ),
        with_kwargs=True,
    )
    model.model.layers[0].register_forward_pre_hook(look)
    trainer.train()

    assert seen.keys() == {True, False}
    assert seen[False].abs().max() == 0
    noise = seen[True].flatten(0, 1).split(LENGTHS) if joins_rows else seen[True]
    for length, of_row in zip(LENGTHS, noise, strict=True):
        limit = 5.0 / (length * 32) ** 0.5  # α/√(L·d)
        assert 0.9 * limit < of_row[:length].abs().max() <= limit * (1 + 1e-5)
    assert not embeddings._forward_hooks, "the published model has no noise"
