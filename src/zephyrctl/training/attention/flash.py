"""What is a CUDA kernel told about documents? (torch's own, flash attention 2, 3 and 4)

Signatures differ by version; the arguments follow from the names of a function's parameters.
"""

import importlib
import inspect
from collections.abc import Callable, Collection
from functools import lru_cache
from typing import Any

import torch

from zephyrctl.training.attention.choice import Kernel, parameters_of_torch
from zephyrctl.training.attention.documents import Documents, Form, gathered

MODULES: dict[Kernel, str] = {
    "torch": "torch.nn.attention.varlen",
    "flash_attention_2": "flash_attn",
    "flash_attention_3": "flash_attn_interface",
    "flash_attention_4": "flash_attn.cute",
}


def attend(
    kernel: Kernel,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    documents: Documents,
    form: Form,
) -> torch.Tensor:
    """Attention `(1, T, H, D)` of queries `(1, H, T, D)`; keys and values may have fewer heads."""
    query, key, value = (x.transpose(1, 2)[0] for x in (query, key, value))
    key, value = (gathered(x, documents, dim=0) for x in (key, value))
    if kernel == "torch":
        out = _with_torch(query, key, value, documents=documents, form=form)
    else:
        run, parameters = _function(kernel)
        out = run(query, key, value, **flash_arguments(parameters, documents=documents, form=form))
    out = out[0] if isinstance(out, tuple) else out
    return out.unsqueeze(0)


def _with_torch(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    documents: Documents,
    form: Form,
) -> Any:
    arguments, factor, repeated = torch_arguments(
        parameters_of_torch(),
        form=form,
        head=query.shape[-1],
        groups=query.shape[1] // key.shape[1],
    )
    if repeated > 1:
        key, value = (x.repeat_interleave(repeated, dim=1) for x in (key, value))
    if factor != 1.0:
        query = query * factor
    varlen: Any = importlib.import_module(MODULES["torch"])
    return varlen.varlen_attn(
        query.contiguous(),
        key.contiguous(),
        value.contiguous(),
        documents.starts_q,
        documents.starts_k,
        documents.longest_q,
        documents.longest_k,
        **arguments,
    )


def torch_arguments(
    parameters: Collection[str], *, form: Form, head: int, groups: int
) -> tuple[dict[str, Any], float, int]:
    """What torch's `varlen_attn` is told: keyword arguments, a factor on the queries, and how
    often each head of keys and values is repeated.

    torch 2.10 has `is_causal` and no scale, 2.11 a window and a scale, 2.12 `enable_gqa` besides,
    without which it may refuse fewer heads of keys. Causal is a window that ends at the token.
    """
    arguments: dict[str, Any] = {}
    factor, repeated = 1.0, groups
    if "window_size" in parameters:
        arguments["window_size"] = _window(form)
    else:
        arguments["is_causal"] = True
    if "scale" in parameters:
        arguments["scale"] = form.scale
    else:
        factor = form.scale * head**0.5
    if "enable_gqa" in parameters:
        arguments["enable_gqa"] = groups > 1
        repeated = 1
    return arguments, factor, repeated


def flash_arguments(
    parameters: Collection[str], *, documents: Documents, form: Form
) -> dict[str, Any]:
    """Keyword arguments of `flash_attn_varlen_func` 2, 3 and 4. The longest lengths are left out
    where a version works them out itself, and the window where there is none, because versions
    write "no bound" differently."""
    arguments: dict[str, Any] = {
        "cu_seqlens_q": documents.starts_q,
        "cu_seqlens_k": documents.starts_k,
        "softmax_scale": form.scale,
        "causal": True,
    }
    longest = {"max_seqlen_q": documents.longest_q, "max_seqlen_k": documents.longest_k}
    arguments |= {name: value for name, value in longest.items() if name in parameters}
    if form.window is not None:
        arguments["window_size"] = _window(form)
    if form.softcap is not None:
        arguments["softcap"] = form.softcap
    return arguments


def _window(form: Form) -> tuple[int, int]:
    """Keys in sight before a token and after it, the token itself not counted; -1 is all."""
    return (-1 if form.window is None else form.window - 1, 0)


@lru_cache
def _function(kernel: Kernel) -> tuple[Callable[..., Any], frozenset[str]]:
    function = importlib.import_module(MODULES[kernel]).flash_attn_varlen_func
    return function, frozenset(inspect.signature(function).parameters)
