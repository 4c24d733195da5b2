"""What does a GGUF file say, to somebody who knows nothing of how it was written?

The numbers come from the file's keys, the weights from its tensors; both become a plain
transformers model that computes in float32. Nothing of names, numbers and rows is shared with the
writing side, so that a wrong one shows as other log-probabilities.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from zephyrctl.errors import JobFailed
from zephyrctl.publishing.upcasting import compute_in_float32

_CLASSES: dict[str, tuple[Any, Any]] = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
}
_PARTS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}


def keys_of(path: Path) -> dict[str, Any]:
    """All keys of a file with their values."""
    fields = gguf.GGUFReader(path).fields
    return {name: fields[name].contents() for name in fields if not name.startswith("GGUF.")}


def load(path: Path) -> Any:
    """The model of a file, computing in float32; JobFailed where tensors and keys do not fit.

    The file is mapped, and a layer's weights are taken from it when the layer is at work.
    """
    reader = gguf.GGUFReader(path)
    config, model = _empty(reader)
    places: dict[str, gguf.ReaderTensor] = {}
    factors = None
    left = {name for name, _ in model.named_parameters()}
    for tensor in reader.tensors:
        if tensor.name == "rope_freqs.weight":
            factors = _values(tensor)
            continue
        name = _name(tensor.name)
        shape = tuple(int(size) for size in reversed(tensor.shape))
        if name not in left or model.get_parameter(name).shape != shape:
            raise JobFailed(f"the tensor {tensor.name} does not fit the file's keys")
        owner, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(owner), leaf, _nothing())
        places[name] = tensor
        left.discard(name)
    if config.tie_word_embeddings:
        model.tie_weights()
    if left - {"lm_head.weight"} or (left and not config.tie_word_embeddings):
        raise JobFailed(f"{len(left)} tensors are not in the file ({min(left)}, …)")
    _turn(model, config, factors)

    def read(name: str) -> torch.Tensor:
        values = _values(places[name])
        if config.model_type == "llama" and name.endswith(("q_proj.weight", "k_proj.weight")):
            is_query = name.endswith("q_proj.weight")
            heads = config.num_attention_heads if is_query else config.num_key_value_heads
            values = _apart(values, heads)
        return values

    compute_in_float32(model, read=read)
    return model.eval()


def _nothing() -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.empty(0), requires_grad=False)


def _values(tensor: gguf.ReaderTensor) -> torch.Tensor:
    return torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type).copy())


def _empty(reader: gguf.GGUFReader) -> tuple[Any, Any]:
    """The configuration that the keys describe, and a model of it without weights."""

    def key(name: str) -> Any:
        return reader.fields[name].contents()

    kind = key("general.architecture")
    make_config, make_model = _CLASSES[kind]
    names = {tensor.name for tensor in reader.tensors}
    config = make_config(
        vocab_size=len(key("tokenizer.ggml.tokens")),
        hidden_size=key(f"{kind}.embedding_length"),
        intermediate_size=key(f"{kind}.feed_forward_length"),
        num_hidden_layers=key(f"{kind}.block_count"),
        num_attention_heads=key(f"{kind}.attention.head_count"),
        num_key_value_heads=key(f"{kind}.attention.head_count_kv"),
        head_dim=key(f"{kind}.attention.key_length"),
        rms_norm_eps=key(f"{kind}.attention.layer_norm_rms_epsilon"),
        max_position_embeddings=key(f"{kind}.context_length"),
        rope_parameters={"rope_type": "default", "rope_theta": key(f"{kind}.rope.freq_base")},
        tie_word_embeddings="output.weight" not in names,
    )
    with torch.device("meta"):
        return config, make_model(config)


def _name(place: str) -> str:
    """`blk.3.attn_q.weight` is `model.layers.3.self_attn.q_proj.weight`."""
    part, _, leaf = place.rpartition(".")
    if part.startswith("blk."):
        _, layer, part = part.split(".")
        return f"model.layers.{layer}.{_PARTS[part]}.{leaf}"
    return f"{_PARTS[part]}.{leaf}"


def _apart(values: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of q or k that stand in pairs, each head's first members before the second ones."""
    by_head = values.view(heads, -1, values.shape[1])  # (heads, head, width)
    return torch.cat((by_head[:, 0::2], by_head[:, 1::2]), dim=1).reshape(values.shape)


def _turn(model: Any, config: Any, factors: torch.Tensor | None) -> None:
    """Give the model its rotary frequencies, which are no weights, slowed down by `factors`."""
    rotary = type(model.model.rotary_emb)(config)
    if factors is not None:
        rotary.inv_freq = rotary.inv_freq / factors
    model.model.rotary_emb = rotary
