"""Pairs in one packed row, each prompt once, against padded and separate sequences."""

import copy
from typing import Any

import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM
from trl.trainer.utils import add_fused_lm_head

from zephyrctl.errors import JobFailed
from zephyrctl.training import prefix_sharing
from zephyrctl.training.prefix_sharing import PairCollator

FIELDS = ("log_probs", "entropy", "log_sum_sq_probs", "mean_logits", "is_top1")
EDGES = {
    "mixed": [(5, 7, 3), (1, 4, 6), (9, 1, 1), (4, 6, 6)],
    "one-token prompts": [(1, 5, 3), (1, 2, 4)],
    "one-token completions": [(6, 1, 1), (3, 1, 4)],
    "one token each": [(1, 1, 1)],
    "single pair": [(7, 5, 9)],
}


def tiny_mistral(*, dtype: torch.dtype = torch.float32, **changes: Any) -> MistralForCausalLM:
    torch.manual_seed(0)
    config = MistralConfig(
        **{
            "vocab_size": 97, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "sliding_window": None,
            "max_position_embeddings": 128, "initializer_range": 0.2,
        }
        | changes
    )  # fmt: skip
    model = MistralForCausalLM(config).to(dtype)
    add_fused_lm_head(model, outputs=FIELDS)
    return model


def pairs(lengths: list[tuple[int, int, int]], *, seed: int = 1) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(seed)

    def draw(count: int) -> list[int]:
        return torch.randint(3, 97, (count,), generator=generator).tolist()

    return [
        {"prompt_ids": draw(p), "chosen_ids": draw(c), "rejected_ids": draw(r)}
        for p, c, r in lengths
    ]


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("lengths", EDGES.values(), ids=EDGES.keys())
def test_every_field_equals_that_of_the_padded_batch(
    lengths: list[tuple[int, int, int]], share: bool
) -> None:
    model = tiny_mistral()
    prefix_sharing.install(model)
    batch = PairCollator(pad_token_id=0, share=share)(pairs(lengths))
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
    given = {
        "input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"],
        "labels": labels, "fused_lm_head": True,
    }  # fmt: skip
    padded, packed = model(**given), model(**given, shared=batch["shared"])
    assert batch["shared"]["input_ids"].shape[1] == sum(
        prefix_sharing.tokens(*length, share=share) for length in lengths
    )
    for field in (*FIELDS, "label_mask"):
        torch.testing.assert_close(packed[field], padded[field], rtol=1e-5, atol=1e-5)


def test_a_copy_of_the_model_computes_with_its_own_weights() -> None:
    model = tiny_mistral()
    prefix_sharing.install(model)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        model.lm_head.weight.zero_()
    batch = PairCollator(pad_token_id=0)(pairs(EDGES["mixed"]))
    assert prefix_sharing.check(twin, batch, tolerance=1e-4) < 1e-4
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
    given = {"input_ids": batch["input_ids"], "labels": labels, "fused_lm_head": True}
    flat = model(**given, shared=batch["shared"]).log_probs
    own = twin(**given, shared=batch["shared"]).log_probs
    assert (flat - own).abs().max() > 0.1


def test_the_check_refuses_an_attention_that_ignores_documents() -> None:
    model = tiny_mistral()
    prefix_sharing.install(model)
    batch = PairCollator(pad_token_id=0)(pairs(EDGES["mixed"]))
    assert prefix_sharing.check(model, batch, tolerance=1e-4) < 1e-4
    model.set_attn_implementation("sdpa")
    with pytest.raises(JobFailed, match="differ by"):
        prefix_sharing.check(model, batch, tolerance=1e-4)
    assert model.training
