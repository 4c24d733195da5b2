"""Why can a model not use attention over packed documents?

Told from the architecture, before anything runs: a layer that carries a state along the row, or
that weighs keys by something else than their scores, would mix documents or ignore them.
"""

import inspect
from typing import Any

import torch
from transformers import PreTrainedModel

LAYERS = {"full_attention", "sliding_attention", "attention"}
"""Kinds of layers that are nothing but attention with a window or without."""


def reason_against(model: PreTrainedModel) -> str | None:
    """Why `model` cannot use this attention, in a few words; None where it can."""
    plain: Any = model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]
    config = plain.config.get_text_config()
    return (
        _of_family(plain, config)
        or _of_layers(config)
        or _of_modules(plain)
        or _of_forward(plain.base_model)
    )


def _of_family(model: Any, config: Any) -> str | None:
    if config is not model.config:
        return "it reads more than text"
    if getattr(config, "is_encoder_decoder", False):
        return "it has an encoder"
    if getattr(model, "_is_stateful", False):
        return "it has state-space or recurrent layers"
    if getattr(config, "alibi", False) or getattr(config, "position_embedding_type", "") == "alibi":
        return "its positions are ALiBi biases on the scores"
    if not getattr(model, "_supports_attention_backend", False):
        return "its attention is not replaceable in transformers"
    return None


def _of_layers(config: Any) -> str | None:
    named: list[str] = (
        getattr(config, "layer_types", None) or getattr(config, "layers_block_type", None) or []
    )
    other = sorted(set(named) - LAYERS)
    if other:
        return f"it has layers of the kind {', '.join(other)}"
    if getattr(config, "attention_chunk_size", None):
        return "its attention is chunked"
    both_ways = getattr(config, "use_bidirectional_attention", None)
    if both_ways or not getattr(config, "is_causal", True):
        return "its attention looks at later tokens"
    return None


def _of_modules(model: Any) -> str | None:
    for module in model.modules():
        if "sinks" in module._parameters:
            return "it has attention sinks"
        if getattr(module, "is_causal", True) is False:
            return "its attention looks at later tokens"
        if getattr(module, "is_cross_attention", False):
            return "it has cross-attention"
    return None


def _of_forward(backbone: torch.nn.Module) -> str | None:
    """Positions and documents are told to the decoder by name."""
    parameters = inspect.signature(backbone.forward).parameters
    if "position_ids" not in parameters:
        return "it cannot be told positions"
    if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return "its layers cannot be told of documents"
    return None
