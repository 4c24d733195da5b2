"""A tiny decoder with TRL's fused head, and preference pairs of given lengths."""

from typing import Any

import torch
from transformers import MistralConfig, MistralForCausalLM, PreTrainedModel
from trl.trainer.utils import add_fused_lm_head

FIELDS = ("log_probs", "entropy", "log_sum_sq_probs", "mean_logits", "is_top1")
VOCABULARY = 97
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128,
    "initializer_range": 0.2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
"""Of most decoders in transformers; weights so wide that every token has a say."""
EDGES = {
    "mixed": [(5, 7, 3), (1, 4, 6), (9, 1, 1), (4, 6, 6)],
    "one-token prompts": [(1, 5, 3), (1, 2, 4)],
    "one-token completions": [(6, 1, 1), (3, 1, 4)],
    "one token each": [(1, 1, 1)],
    "a single pair": [(7, 5, 9)],
}
"""Lengths of prompt, chosen and rejected of each pair of a batch."""


def mistral(*, seed: int = 0, **changes: Any) -> PreTrainedModel:
    """Two layers with grouped heads, and the fused head."""
    torch.manual_seed(seed)
    model = MistralForCausalLM(MistralConfig(**SIZES | {"sliding_window": None} | changes))
    add_fused_lm_head(model, outputs=FIELDS)
    return model


def pairs(lengths: list[tuple[int, int, int]], *, seed: int = 1) -> list[dict[str, list[int]]]:
    """Random token ids of these lengths."""
    generator = torch.Generator().manual_seed(seed)

    def draw(count: int) -> list[int]:
        return torch.randint(3, VOCABULARY, (count,), generator=generator).tolist()

    return [
        {"prompt_ids": draw(p), "chosen_ids": draw(c), "rejected_ids": draw(r)}
        for p, c, r in lengths
    ]


def padded(batch: dict[str, Any]) -> dict[str, Any]:
    """What DPOTrainer tells the model of a batch, without the plan."""
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
    return {
        "input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"],
        "labels": labels, "fused_lm_head": True, "use_cache": False,
    }  # fmt: skip


def gradients(model: Any) -> dict[str, torch.Tensor]:
    """Every weight's gradient."""
    return {
        name: weight.grad.clone()
        for name, weight in model.named_parameters()
        if weight.grad is not None
    }


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Distance over length (L2), the length at least 0.001: some gradients are nothing."""
    found, expected = found.detach(), expected.detach()
    return float((found - expected).norm() / expected.norm().clamp(min=1e-3))
