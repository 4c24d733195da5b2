"""How do the layers of a model family differ from Llama's?

Sizes and names as `config.json` and the model classes of transformers 5.23 have them. A model type
that is not listed but uses Llama's keys is described as Llama.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal


@dataclass(frozen=True)
class Family:
    """The form of one decoder layer; the defaults are Llama's."""

    queries: tuple[str, ...] = ("q_proj", "k_proj", "v_proj")
    """Names of the matrices that make queries, keys and values; one name where they are joined."""
    output: str = "o_proj"
    gate: tuple[str, ...] = ("gate_proj", "up_proj")
    """Names of the matrices into the feed-forward block; one where joined or without a gate."""
    down: str = "down_proj"
    gated: bool = True
    norm: Literal["rms", "rms_float32", "layer"] = "rms"
    """`rms_float32` multiplies by its weight before it returns to the number format of its input
    (Gemma); `layer` has a mean and a bias."""
    norms: int = 2
    """Norms over hidden states in a layer."""
    head_norms: bool = False
    """Norms over each head of queries and keys."""
    query_bias: bool = False
    output_bias: bool = False
    feed_bias: bool = False
    head_bias: bool = False
    parallel: bool = False
    """Attention and feed-forward read one norm (where `norms` is 1) and add up."""
    joint_keys: bool = False
    """Queries, keys and values stay views of one tensor that holds them all (GPT-NeoX, Phi-3)."""
    wide_keys: bool = False
    """Keys are repeated to the number of query heads before attention (Falcon)."""
    python_gelu: bool = False
    """The activation is written out in Python, and autograd keeps each step of it."""
    softcap: bool = False
    """Scores go through a tanh, which takes transformers' eager attention."""
    tied: bool = False
    """What a config without `tie_word_embeddings` means."""


LLAMA = Family()
_JOINED = Family(
    queries=("query_key_value",), output="dense", gate=("dense_h_to_4h",), down="dense_4h_to_h",
    gated=False, norm="layer",
)  # fmt: skip
_QWEN2 = replace(LLAMA, query_bias=True)
_GEMMA = replace(LLAMA, norm="rms_float32", tied=True)
_GEMMA3 = replace(_GEMMA, norms=4, head_norms=True)
_PHI = Family(
    output="dense", gate=("fc1",), down="fc2", gated=False, norm="layer", norms=1, parallel=True,
    query_bias=True, output_bias=True, feed_bias=True, head_bias=True,
)  # fmt: skip
_PHI3 = replace(LLAMA, queries=("qkv_proj",), gate=("gate_up_proj",), joint_keys=True)


def family_of(config: Mapping[str, Any]) -> Family:
    """The form of this model's layers."""
    kind = str(config.get("model_type", ""))
    known = _FAMILIES.get(kind)
    family = known(config) if known is not None else _llama(config)
    activation = config.get("hidden_act") or config.get("activation") or ""
    return replace(family, python_gelu=activation in ("gelu_new", "gelu_fast", "quick_gelu"))


def _llama(config: Mapping[str, Any]) -> Family:
    biased = bool(config.get("attention_bias", False))
    return replace(
        LLAMA, query_bias=biased, output_bias=biased, feed_bias=bool(config.get("mlp_bias", False))
    )


def _qwen3(config: Mapping[str, Any]) -> Family:
    return replace(_llama(config), head_norms=True)


def _falcon(config: Mapping[str, Any]) -> Family:
    biased = bool(config.get("bias", False))
    newer = bool(config.get("new_decoder_architecture", False))
    parallel = newer or bool(config.get("parallel_attn", True))
    # Only Falcon-11B's variant of the newer form has one norm in a layer.
    norms = (config.get("num_ln_in_parallel_attn") or 2) if newer else (1 if parallel else 2)
    return replace(
        _JOINED,
        norms=norms,
        parallel=parallel,
        query_bias=biased,
        output_bias=biased,
        feed_bias=biased,
        wide_keys=True,
        tied=True,
    )


def _gpt_neox(config: Mapping[str, Any]) -> Family:
    biased = bool(config.get("attention_bias", True))
    return replace(
        _JOINED,
        norms=2,
        parallel=bool(config.get("use_parallel_residual", True)),
        query_bias=biased,
        output_bias=biased,
        feed_bias=True,
        joint_keys=True,
    )


def _phi(config: Mapping[str, Any]) -> Family:
    return replace(_PHI, head_norms=bool(config.get("qk_layernorm", False)))


_FAMILIES: dict[str, Callable[[Mapping[str, Any]], Family]] = {
    "qwen2": lambda config: _QWEN2,
    "qwen2_moe": lambda config: _QWEN2,
    "qwen3": _qwen3,
    "qwen3_moe": _qwen3,
    "gemma": lambda config: _GEMMA,
    "gemma2": lambda config: replace(_GEMMA, norms=4, softcap=True),
    "gemma3_text": lambda config: _GEMMA3,
    "phi": _phi,
    "phi3": lambda config: _PHI3,
    "falcon": _falcon,
    "gpt_neox": _gpt_neox,
}


def key_value_heads(config: Mapping[str, Any], heads: int) -> int:
    """Heads of keys and values; Falcon names them otherwise."""
    if config.get("model_type") == "falcon":
        if config.get("new_decoder_architecture"):
            return config.get("num_kv_heads") or heads
        return 1 if config.get("multi_query", True) else heads
    return config.get("num_key_value_heads") or heads


def inner_size(config: Mapping[str, Any]) -> int | None:
    """Width of one feed-forward block, of one expert where there are several."""
    for key in ("moe_intermediate_size", "intermediate_size", "ffn_hidden_size"):
        if isinstance(config.get(key), int):
            return config[key]
    hidden = config.get("hidden_size")
    if config.get("model_type") == "falcon" and isinstance(hidden, int):
        return 4 * hidden
    return None


def experts_of(config: Mapping[str, Any]) -> tuple[int, int]:
    """Experts of a layer, and how many of them a token passes through."""
    count = config.get("num_local_experts") or config.get("num_experts") or 1
    return count, (config.get("num_experts_per_tok") or 1) if count > 1 else 1
