"""Which models can be written as GGUF, and under which names and numbers?

Three families whose places in llama.cpp are known for certain: Llama, Mistral (which llama.cpp
runs as a Llama) and Qwen2. Everything else is refused by its name. What the numbers mean:
`src/llama-model.cpp` and `conversion/{base,llama,qwen}.py` of github.com/ggml-org/llama.cpp.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from zephyrctl.errors import DataError, UsageError

ELSEWHERE = (
    "zephyrctl export merged MODEL   writes a folder for llama.cpp's own convert_hf_to_gguf.py"
)


@dataclass(frozen=True)
class Family:
    """How llama.cpp computes a family. `name` is its `general.architecture`.

    `is_paired`: rotary embeddings turn neighbouring rows of a head (0 with 1), where transformers
    turns row i with row i + half: the rows of q and k have to change places.
    """

    name: str
    is_paired: bool
    biased: tuple[str, ...] = ()


FAMILIES = {
    "LlamaForCausalLM": Family("llama", is_paired=True),
    "MistralForCausalLM": Family("llama", is_paired=True),
    "Qwen2ForCausalLM": Family("qwen2", is_paired=False, biased=("q_proj", "k_proj", "v_proj")),
}
_OF_A_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_OF_THE_MODEL = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
}
ROPE_FACTORS = "rope_freqs.weight"


@dataclass(frozen=True)
class Architecture:
    """A model's numbers as llama.cpp wants them. `head` is the size of one attention head."""

    family: Family
    layers: int
    context: int
    width: int
    inner: int
    heads: int
    kv_heads: int
    head: int
    epsilon: float
    theta: float
    is_llama3_rope: bool
    notices: tuple[str, ...]


def architecture_of(config: Any, *, where: str) -> Architecture:
    """The architecture of a model by its configuration.

    UsageError, with the model's name, where a file of it would not compute the same.
    """
    family = _family(config, where)
    if reason := _unlike(config, family):
        raise UsageError(
            f"this {_name(config)} cannot be written as GGUF: {reason}",
            where=where,
            hint=ELSEWHERE,
        )
    heads = config.num_attention_heads
    rope = config.rope_parameters
    context, notices = _context(config)
    return Architecture(
        family=family,
        layers=config.num_hidden_layers,
        context=context,
        width=config.hidden_size,
        inner=config.intermediate_size,
        heads=heads,
        kv_heads=config.num_key_value_heads or heads,
        head=getattr(config, "head_dim", None) or config.hidden_size // heads,
        epsilon=config.rms_norm_eps,
        theta=float(rope["rope_theta"]),
        is_llama3_rope=rope.get("rope_type", "default") == "llama3",
        notices=notices,
    )


def _family(config: Any, where: str) -> Family:
    if getattr(config, "quantization_config", None):
        raise UsageError(
            "the model's weights are quantized already, and would be rounded twice",
            where=where,
            hint="export the model from the weights that it was quantized from",
        )
    family = FAMILIES.get(_name(config))
    if family is None:
        known = ", ".join(name.removesuffix("ForCausalLM") for name in FAMILIES)
        raise UsageError(
            f"{_name(config)} cannot be written as GGUF here; {known} models can",
            where=where,
            hint=ELSEWHERE,
        )
    return family


def _name(config: Any) -> str:
    names = getattr(config, "architectures", None) or []
    return str(names[0]) if names else f"a model of the type '{config.model_type}'"


def _unlike(config: Any, family: Family) -> str | None:
    """What in this model llama.cpp would compute in another way, or None."""
    rope = getattr(config, "rope_parameters", None)
    if not isinstance(rope, dict) or "rope_theta" not in rope:
        return "its rotary embedding is not one for all layers"
    kind = rope.get("rope_type", "default")
    if kind not in ("default", "llama3"):
        return f"its rope scaling is '{kind}'; none and 'llama3' are known"
    if kind == "llama3" and not family.is_paired:
        return "llama.cpp knows rope scaling of the kind 'llama3' for Llama models only"
    if rope.get("partial_rotary_factor", 1.0) != 1.0:
        return "it turns a part of each head only"
    if config.hidden_act not in ("silu", "swish"):
        return f"its activation is '{config.hidden_act}', not 'silu'"
    biases = [name for name in ("attention_bias", "mlp_bias") if getattr(config, name, False)]
    return f"it has biases ({biases[0]})" if biases and not family.biased else None


def _context(config: Any) -> tuple[int, tuple[str, ...]]:
    """The longest text on which llama.cpp computes the same.

    It attends to the whole text in these families, so a model with a sliding window is the same
    model within the window only.
    """
    longest = config.max_position_embeddings
    window = getattr(config, "sliding_window", None)
    if not window or window >= longest:
        return longest, ()
    return window, (
        f"llama.cpp has no sliding window for this architecture: the file says a context of "
        f"{window} tokens, within which it is the same model, not {longest}",
    )


def places(model: Any, architecture: Architecture) -> dict[str, str]:
    """The model's tensors and their names in the file, in the file's order; a tied head is left
    out. DataError for a tensor without a place."""
    table = dict(_table(architecture))
    found = {name: None for name, _ in model.named_parameters()}  # a tied head is not among them
    unknown = [name for name in found if name not in table]
    missing = [name for name in table if name not in found and name != "lm_head.weight"]
    if unknown or missing:
        what = f"no place for {unknown[0]}" if unknown else f"no tensor {missing[0]}"
        raise DataError(f"the model is not laid out as its architecture says: {what}")
    return {name: place for name, place in table.items() if name in found}


def _table(architecture: Architecture) -> Iterator[tuple[str, str]]:
    for name, place in _OF_THE_MODEL.items():
        yield f"{name}.weight", f"{place}.weight"
    for layer in range(architecture.layers):
        for name, place in _OF_A_LAYER.items():
            yield f"model.layers.{layer}.{name}.weight", f"blk.{layer}.{place}.weight"
            if name.rpartition(".")[2] in architecture.family.biased:
                yield f"model.layers.{layer}.{name}.bias", f"blk.{layer}.{place}.bias"


def in_file_order(name: str, weight: torch.Tensor, architecture: Architecture) -> torch.Tensor:
    """A tensor with its rows in llama.cpp's order: those of q and k in pairs (see `Family`)."""
    part = name.rpartition(".")[0].rpartition(".")[2]
    if not architecture.family.is_paired or part not in ("q_proj", "k_proj"):
        return weight
    heads = architecture.heads if part == "q_proj" else architecture.kv_heads
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return halves.swapaxes(1, 2).reshape(weight.shape)


def rope_factors(model: Any, architecture: Architecture) -> torch.Tensor | None:
    """By how much each frequency of a Llama 3 is slowed down (head / 2,), or None.

    llama.cpp divides by it: the model's own frequencies against those of its theta alone.
    """
    if not architecture.is_llama3_rope:
        return None
    even = torch.arange(0, architecture.head, 2, dtype=torch.float32)
    unscaled = 1.0 / architecture.theta ** (even / architecture.head)
    return unscaled / model.model.rotary_emb.inv_freq.float().cpu()
