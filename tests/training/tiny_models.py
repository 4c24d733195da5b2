"""A tiny Mistral and batches for it."""

from typing import Any

import torch
from transformers import MistralConfig, MistralForCausalLM


def mistral(*, layers: int = 2, seed: int = 0, **settings: Any) -> Any:
    """A model in training mode: hidden 32, two heads of queries, one of keys."""
    torch.manual_seed(seed)
    config = MistralConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=layers,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=512,
        sliding_window=None, **settings,
    )  # fmt: skip
    return MistralForCausalLM(config).train()


def documents(*lengths: int, seed: int = 1) -> dict[str, Any]:
    """Documents in one row, as a padding-free collator gives them."""
    ids = _ids(1, sum(lengths), seed)
    ends = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
    return {
        "input_ids": ids,
        "labels": ids,
        "position_ids": torch.cat([torch.arange(length) for length in lengths])[None],
        "cu_seq_lens_q": ends,
        "cu_seq_lens_k": ends,
        "max_length_q": max(lengths),
        "max_length_k": max(lengths),
        "use_cache": False,
    }


def padded(rows: int, length: int, *, seed: int = 1) -> dict[str, Any]:
    """Rows of which the first is padded."""
    ids = _ids(rows, length, seed)
    mask = torch.ones_like(ids)
    if rows > 1:
        mask[0, -3:] = 0
    return {"input_ids": ids, "labels": ids, "attention_mask": mask, "use_cache": False}


def gradients(model: Any, batch: dict[str, Any]) -> torch.Tensor:
    """All gradients of one pass, flat."""
    model.zero_grad()
    model(**batch).loss.backward()
    return torch.cat([w.grad.flatten() for w in model.parameters() if w.grad is not None])


def _ids(rows: int, length: int, seed: int) -> torch.Tensor:
    return torch.randint(0, 64, (rows, length), generator=torch.Generator().manual_seed(seed))
