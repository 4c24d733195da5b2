"""Bases of every supported family, two layers small: what `model.base` may name, as folders."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, PreTrainedConfig

VOCABULARY = 768
"""Tokens of the tests' tokenizer."""
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "bos_token_id": 0,
    "eos_token_id": 1, "pad_token_id": 2, "initializer_range": 0.06,
}  # fmt: skip
HEADS: dict[str, Any] = {"num_attention_heads": 4, "max_position_embeddings": 128}
GROUPED: dict[str, Any] = {**HEADS, "intermediate_size": 48, "num_key_value_heads": 2}
STATE: dict[str, Any] = {"state_size": 4, "time_step_rank": 4}


@dataclass(frozen=True)
class Family:
    """One architecture and the linear layers that carry an adapter under `all-linear`."""

    config: Callable[[], PreTrainedConfig]
    targets: frozenset[str]


def family(name: str, targets: str, **settings: Any) -> Family:
    """A family by the name of its configuration class; `targets` are words."""
    build = getattr(transformers, f"{name}Config")
    return Family(lambda: build(**SIZES, **settings), frozenset(targets.split()))


ATTENTION = "q_proj k_proj v_proj o_proj"
GATED = f"{ATTENTION} gate_proj up_proj down_proj"
FALCON = "query_key_value dense dense_h_to_4h dense_4h_to_h"

FAMILIES: dict[str, Family] = {
    # Heads of 12 beside a hidden size of 32, a sliding window: Mistral Nemo and Mistral 7B in one.
    "mistral": family("Mistral", GATED, **GROUPED, head_dim=12, sliding_window=16),
    "llama": family("Llama", GATED, **GROUPED, attention_bias=True, tie_word_embeddings=True),
    "qwen2": family("Qwen2", GATED, **GROUPED, tie_word_embeddings=True),
    "qwen3": family("Qwen3", GATED, **GROUPED, head_dim=16),
    "gemma": family("Gemma", GATED, **GROUPED, head_dim=12),
    "gemma2": family("Gemma2", GATED, **GROUPED, head_dim=12, query_pre_attn_scalar=12),
    "gemma3": family("Gemma3Text", GATED, **GROUPED, head_dim=12, query_pre_attn_scalar=12),
    "falcon": family("Falcon", FALCON, **HEADS, new_decoder_architecture=True, num_kv_heads=2),
    "falcon-alibi": family("Falcon", FALCON, **HEADS, alibi=True, multi_query=True, bias=True),
    "phi": family("Phi", "q_proj k_proj v_proj dense fc1 fc2", **HEADS, intermediate_size=48),
    "phi3": family("Phi3", "qkv_proj o_proj gate_up_proj down_proj", **GROUPED),
    "smollm3": family("SmolLM3", GATED, **GROUPED),
    "mixtral": family(
        "Mixtral", ATTENTION, **GROUPED, num_local_experts=4, router_aux_loss_coef=0.02
    ),
    "mamba": family("Mamba", "in_proj", **STATE),
    "falcon-mamba": family("FalconMamba", "in_proj", **STATE),
}


def build(folder: Path, name: str, *, tokenizer_of: Path) -> Path:
    """Write a base of this family with random weights and the tokenizer of another base."""
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(FAMILIES[name].config()).save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tokenizer_of / file, folder / file)
    return folder
