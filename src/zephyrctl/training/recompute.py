"""Which activations are kept for the backward pass where the others are computed again?

`gradient_checkpointing: true` keeps the input of each decoder layer. `selective` keeps the outputs
of attention besides: one tensor of the hidden size per layer, which spares the only part of the
recomputation that grows with the square of a document's length.
"""

from functools import partial
from types import MethodType
from typing import Any

from torch.utils.checkpoint import CheckpointPolicy, create_selective_checkpoint_contexts

ATTENTION = frozenset(
    {
        "aten::_scaled_dot_product_flash_attention",
        "aten::_scaled_dot_product_efficient_attention",
        "aten::_scaled_dot_product_cudnn_attention",
        "aten::_scaled_dot_product_flash_attention_for_cpu",
        "aten::_scaled_dot_product_fused_attention_overrideable",
        "torch_attn::_varlen_attn",
    }
)
"""Names under which torch dispatches attention: SDPA's kernels and its own varlen attention."""

_FLASH = "flash_attn"
"""Part of the names under which flash attention 2, 3 and 4 register theirs."""


def policy(_: Any, operator: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
    """Keep what attention returns. A model that computes attention by plain matrix products (a
    soft-cap, `eager`) has no such operator, and everything is recomputed."""
    del args, kwargs
    name = operator.name().partition(".")[0]
    if name in ATTENTION or _FLASH in name:
        return CheckpointPolicy.MUST_SAVE
    return CheckpointPolicy.PREFER_RECOMPUTE


def keep_attention(model: Any) -> None:
    """Make every later switching on of gradient checkpointing selective.

    The trainer switches it on, and TRL's DPO off and on again around its reference pass, each time
    with the arguments of the configuration, into which no function fits; so it is the model's
    method that adds the policy, as in TRL 1.16's own selective SFT. Doing so again changes nothing.
    """
    model.gradient_checkpointing_enable = MethodType(_selective, model)


def keeps_attention(model: Any) -> bool:
    """Whether `keep_attention` was called for this model."""
    return getattr(model.gradient_checkpointing_enable, "__func__", None) is _selective


def _selective(model: Any, gradient_checkpointing_kwargs: Any = None, **kwargs: Any) -> Any:
    asked = dict(gradient_checkpointing_kwargs or {})
    asked["use_reentrant"] = False  # the reentrant form saves nothing that a policy could keep
    asked["context_fn"] = partial(create_selective_checkpoint_contexts, policy)
    plain = type(model).gradient_checkpointing_enable
    return plain(model, gradient_checkpointing_kwargs=asked, **kwargs)
