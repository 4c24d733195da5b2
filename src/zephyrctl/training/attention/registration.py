"""How does a transformers model come to this attention?

One name is registered for attention and for masks. A forward pass that names its documents
(`cu_seq_lens_q` and so on, as transformers calls them) runs them through a kernel; every other one
(padded batches, generation with a cache) is computed as `sdpa` computes it.
"""

from typing import Any

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from zephyrctl.errors import JobFailed
from zephyrctl.training.attention import flash, segments
from zephyrctl.training.attention.choice import Needs, choose, machine_of
from zephyrctl.training.attention.dense import bottom_right, softcapped
from zephyrctl.training.attention.documents import Documents, Form

NAME = "zephyrctl_varlen"
REFUSED = ("s_aux", "position_bias", "head_mask", "cache")
"""Arguments of a layer's attention that would change the result and that no kernel here knows."""


@torch.compiler.disable  # in compiled layers: its kernels are compiled, its lengths never repeat
def attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **told: Any,
) -> tuple[torch.Tensor, None]:
    """Attention `(B, T, H, D)` of one layer, as transformers calls it: queries `(B, H, T, D)`, keys
    and values that may have fewer heads."""
    if told.get("cu_seq_lens_q") is not None:
        return _over_documents(module, query, key, value, told=told), None
    if told.get("softcap") is not None:
        return _softcapped(query, key, value, attention_mask, told=told), None
    return sdpa_attention_forward(module, query, key, value, attention_mask, **told)


def register() -> None:
    """Make the name known to transformers; doing so again changes nothing."""
    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)


def watch(backbone: torch.nn.Module) -> None:
    """Spare a forward pass that names its documents the T x T mask that transformers would build
    from their positions; the kernels never look at it."""
    for hook in backbone._forward_pre_hooks.values():
        if hook is _without_mask:
            return
    backbone.register_forward_pre_hook(_without_mask, with_kwargs=True)


def _without_mask(
    backbone: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A four-dimensional mask is passed on by transformers as it is."""
    del backbone
    starts = kwargs.get("cu_seq_lens_q")
    if starts is None:
        return args, kwargs
    unread = torch.ones((1, 1, 1, 1), dtype=torch.bool, device=starts.device)
    return args, kwargs | {"attention_mask": unread}


def _over_documents(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    told: dict[str, Any],
) -> torch.Tensor:
    _refuse(module, query, told=told)
    documents = Documents(
        starts_q=told["cu_seq_lens_q"],
        starts_k=told["cu_seq_lens_k"],
        longest_q=int(told["max_length_q"]),
        longest_k=int(told["max_length_k"]),
        kv_index=told.get("kv_index"),
    )
    form = _form(query, told=told, longest=documents.longest_k)
    query, key, value = (_in_autocast(x) for x in (query, key, value))
    needs = Needs(
        dtype=query.dtype,
        head=query.shape[-1],
        value_head=value.shape[-1],
        softcap=form.softcap is not None,
        window=form.window is not None,
        dropout=form.dropout > 0,
    )
    kernel = choose(needs, machine_of(query.device))
    if kernel == "loop":
        return segments.attend(query, key, value, documents=documents, form=form)
    return flash.attend(kernel, query, key, value, documents=documents, form=form)


def _form(query: torch.Tensor, *, told: dict[str, Any], longest: int | None) -> Form:
    """A window over which no document reaches is none; kernels are faster without."""
    scale = told.get("scaling")
    window = told.get("sliding_window")
    return Form(
        scale=query.shape[-1] ** -0.5 if scale is None else float(scale),
        window=None if window is None or (longest is not None and longest <= window) else window,
        softcap=told.get("softcap"),
        dropout=told.get("dropout") or 0.0,
    )


def _refuse(module: torch.nn.Module, query: torch.Tensor, *, told: dict[str, Any]) -> None:
    """What `reason_against` did not foresee must not be computed wrongly."""
    unknown = [name for name in REFUSED if told.get(name) is not None]
    if query.shape[0] != 1:
        unknown.append(f"{query.shape[0]} rows")
    causal = told.get("is_causal")
    if not (getattr(module, "is_causal", True) if causal is None else causal):
        unknown.append("attention to later tokens")
    if unknown:
        raise JobFailed(
            f"{type(module).__name__} asks of attention over packed documents what it cannot do: "
            f"{', '.join(unknown)}",
            hint="set padding_free: false",
        )


def _softcapped(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    *,
    told: dict[str, Any],
) -> torch.Tensor:
    """transformers' `sdpa` refuses a soft-cap."""
    if mask is None:
        mask = bottom_right(query.shape[2], key.shape[2], window=None, device=query.device)
    form = _form(query, told=told, longest=None)
    out = softcapped(query, key, value, mask=mask, form=form)
    return out.transpose(1, 2).contiguous()


def _in_autocast(tensor: torch.Tensor) -> torch.Tensor:
    """Rotary embeddings promote to float32 under autocast, which the flash kernels do not take."""
    device = tensor.device.type
    if not torch.is_autocast_enabled(device) or tensor.dtype == torch.float64:
        return tensor
    return tensor.to(torch.get_autocast_dtype(device))
