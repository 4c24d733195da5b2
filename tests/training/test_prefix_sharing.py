"""Pairs in one packed row, each prompt once, against padded and separate sequences."""

import copy
from typing import Any

import pytest
import torch
from tests.training.tiny_pairs import (
    EDGES,
    FIELDS,
    SIZES,
    gradients,
    mistral,
    padded,
    pairs,
    relative,
)
from torch import nn
from transformers import MixtralConfig, MixtralForCausalLM
from transformers.models.mistral.modeling_mistral import MistralRMSNorm
from trl.trainer.utils import add_fused_lm_head

from zephyrctl.errors import JobFailed
from zephyrctl.training import prefix_sharing
from zephyrctl.training.prefix_sharing import PairCollator

Lengths = list[tuple[int, int, int]]


@pytest.fixture
def _norms_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers computes norms and rotations in float32, whatever the weights are."""

    def forward(self: Any, hidden: torch.Tensor) -> torch.Tensor:
        variance = hidden.pow(2).mean(-1, keepdim=True)
        return self.weight * hidden * torch.rsqrt(variance + self.variance_epsilon)

    monkeypatch.setattr(MistralRMSNorm, "forward", forward)


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("lengths", EDGES.values(), ids=EDGES.keys())
def test_every_field_equals_that_of_the_padded_batch(lengths: Lengths, share: bool) -> None:
    model = mistral()
    prefix_sharing.install(model)
    batch = PairCollator(pad_token_id=0, share=share)(pairs(lengths))
    plain, packed = model(**padded(batch)), model(**padded(batch), shared=batch["shared"])
    assert batch["shared"]["input_ids"].shape[1] == sum(
        prefix_sharing.tokens(*length, share=share) for length in lengths
    )
    for field in (*FIELDS, "label_mask"):
        torch.testing.assert_close(packed[field], plain[field], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(packed.loss, plain.loss, rtol=1e-6, atol=0)


@pytest.mark.usefixtures("_norms_in_float64")
@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("lengths", EDGES.values(), ids=EDGES.keys())
def test_log_probs_and_gradients_are_those_of_separate_sequences(
    lengths: Lengths, window: int | None, share: bool
) -> None:
    """In float64 and without TRL's fused head, which computes in float32."""
    model = mistral(sliding_window=window).double()
    rows = pairs(lengths)
    separate = torch.cat(
        [
            log_probs_of(model, row["prompt_ids"], row[completion])
            for completion in ("chosen_ids", "rejected_ids")
            for row in rows
        ]
    )
    factors = torch.randn(len(separate), generator=torch.Generator().manual_seed(5)).double()
    (separate * factors).sum().backward()
    expected = gradients(model)
    model.zero_grad()

    prefix_sharing.install(model)
    shared = PairCollator(pad_token_id=0, share=share)(rows)["shared"]
    labels, scored, destination = (
        shared.pop(name) for name in ("shift_labels", "scored", "destination")
    )
    every = model(**shared).logits[0].log_softmax(-1)
    found = every[scored, labels[0, scored]][destination.argsort()]
    assert relative(found, separate) < 1e-12
    (found * factors).sum().backward()
    for name, gradient in gradients(model).items():
        assert relative(gradient, expected[name]) < 1e-12, name


def log_probs_of(model: Any, prompt: list[int], completion: list[int]) -> torch.Tensor:
    ids = torch.tensor([prompt + completion])
    every = model(input_ids=ids, use_cache=False).logits[0, :-1].log_softmax(-1)
    return every.gather(1, ids[0, 1:, None])[len(prompt) - 1 :, 0]


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_changes_no_gradient(reentrant: bool) -> None:
    model = mistral(sliding_window=6)
    prefix_sharing.install(model)
    model.train()
    batch = PairCollator(pad_token_id=0)(pairs(EDGES["mixed"]))
    found = []
    for checkpointed in (False, True):
        if checkpointed:
            model.activation_checkpointing_enable({"use_reentrant": reentrant})
        model.zero_grad()
        model(**padded(batch), shared=batch["shared"]).log_probs.square().sum().backward()
        found.append(gradients(model))
    for name, gradient in found[0].items():
        assert relative(found[1][name], gradient) < 1e-6, name


def test_the_order_of_pairs_and_their_company_change_nothing() -> None:
    model = mistral()
    prefix_sharing.install(model)
    rows = pairs(EDGES["mixed"])
    collate = PairCollator(pad_token_id=0)

    def log_probs(given: list[Any]) -> torch.Tensor:
        batch = collate(given)
        return model(**padded(batch), shared=batch["shared"]).log_probs.sum(dim=1)

    together = log_probs(rows)
    turned = log_probs(rows[::-1]).view(2, -1).flip(1).reshape(-1)
    alone = torch.stack([log_probs([row]) for row in rows], dim=1).reshape(-1)
    torch.testing.assert_close(turned, together, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(alone, together, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("share", [True, False])
def test_identical_completions_have_identical_log_probs(share: bool) -> None:
    model = mistral()
    prefix_sharing.install(model)
    rows = pairs([(6, 5, 5)])
    rows[0]["rejected_ids"] = list(rows[0]["chosen_ids"])
    batch = PairCollator(pad_token_id=0, share=share)(rows)
    chosen, rejected = model(**padded(batch), shared=batch["shared"]).log_probs
    torch.testing.assert_close(chosen, rejected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("longest", [9, 5, 4])
def test_pairs_are_cut_as_trl_cuts_them(longest: int, share: bool) -> None:
    """To 5 tokens the second pair loses one completion, to 4 the first loses both."""
    model = mistral()
    prefix_sharing.install(model)
    batch = PairCollator(pad_token_id=0, max_length=longest, share=share)(
        pairs([(4, 7, 3), (2, 4, 1), (3, 1, 2)])
    )
    assert batch["input_ids"].shape[1] <= longest
    assert prefix_sharing.check(model, batch, tolerance=1e-5) < 1e-5


def test_a_batch_without_any_label_has_gradients_of_nothing() -> None:
    model = mistral()
    prefix_sharing.install(model)
    batch = PairCollator(pad_token_id=0, max_length=3)(pairs([(4, 2, 2)]))
    log_probs = model(**padded(batch), shared=batch["shared"]).log_probs
    assert not log_probs.any()
    log_probs.sum().backward()
    assert not any(gradient.any() for gradient in gradients(model).values())


def test_the_prompt_is_in_the_row_once() -> None:
    batch = PairCollator(pad_token_id=0)(
        [{"prompt_ids": [5, 6, 7], "chosen_ids": [8, 9], "rejected_ids": [10, 11, 12]}]
    )
    shared = {
        name: value.tolist() if isinstance(value, torch.Tensor) else value
        for name, value in batch["shared"].items()
    }
    assert shared == {
        "input_ids": [[5, 6, 7, 8, 7, 10, 11]],
        "position_ids": [[0, 1, 2, 3, 2, 3, 4]],
        "shift_labels": [[-100, -100, 8, 9, 10, 11, 12]],
        "cu_seq_lens_q": [0, 4, 7],
        "cu_seq_lens_k": [0, 4, 9],
        "max_length_q": 4,
        "max_length_k": 5,
        "kv_index": [0, 1, 2, 3, 0, 1, 4, 5, 6],
        "scored": [2, 3, 4, 5, 6],
        "destination": [2, 3, 7, 8, 9],
    }


@pytest.mark.parametrize("share", [True, False])
def test_experts_are_balanced_over_the_tokens_of_the_padded_batch(share: bool) -> None:
    torch.manual_seed(0)
    sizes = {"num_local_experts": 4, "output_router_logits": True, "router_aux_loss_coef": 0.5}
    model = MixtralForCausalLM(MixtralConfig(**SIZES | sizes | {"sliding_window": None}))
    add_fused_lm_head(model, outputs=FIELDS)
    prefix_sharing.install(model)
    collate = PairCollator(pad_token_id=0, share=share, balances_experts=True)
    batch = collate(pairs(EDGES["mixed"]))
    plain = model(**padded(batch), output_router_logits=True)
    packed = model(**padded(batch), output_router_logits=True, shared=batch["shared"])
    torch.testing.assert_close(packed.aux_loss, plain.aux_loss, rtol=1e-6, atol=0)
    torch.testing.assert_close(packed.log_probs, plain.log_probs, rtol=1e-5, atol=1e-5)


def test_a_copy_of_the_model_computes_with_its_own_weights() -> None:
    model = mistral()
    prefix_sharing.install(model)
    twin = copy.deepcopy(model)
    batch = PairCollator(pad_token_id=0)(pairs(EDGES["mixed"]))
    before = twin(**padded(batch), shared=batch["shared"]).log_probs
    with torch.no_grad():
        model.lm_head.weight.zero_()
    after = twin(**padded(batch), shared=batch["shared"]).log_probs
    assert torch.equal(before, after)
    assert not torch.equal(before, model(**padded(batch), shared=batch["shared"]).log_probs)


def test_the_check_refuses_an_attention_that_ignores_documents() -> None:
    model = mistral()
    prefix_sharing.install(model)
    batch = PairCollator(pad_token_id=0)(pairs(EDGES["mixed"]))
    assert prefix_sharing.check(model, batch, tolerance=1e-4) < 1e-4
    model.set_attn_implementation("sdpa")
    with pytest.raises(JobFailed, match="differ by"):
        prefix_sharing.check(model, batch, tolerance=1e-4)
    assert model.training


def test_the_check_refuses_numbers_that_are_none() -> None:
    model = mistral()
    prefix_sharing.install(model)
    nn.init.constant_(model.lm_head.weight, float("nan"))
    batch = PairCollator(pad_token_id=0)(pairs(EDGES["mixed"]))
    with pytest.raises(JobFailed, match="nan"):
        prefix_sharing.check(model, batch, tolerance=1e-4)
