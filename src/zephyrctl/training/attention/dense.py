"""How is attention computed under an explicit mask?"""

import torch
from torch.nn import functional

from zephyrctl.training.attention.documents import Form


def bottom_right(
    queries: int, keys: int, *, window: int | None, device: torch.device
) -> torch.Tensor | None:
    """Boolean mask `(queries, keys)` of what each query may look at, the last query aligned with
    the last key; None where that is everything."""
    before = keys - queries
    cut = window is not None and window < keys
    if queries == 1 and not cut:
        return None
    mask = torch.ones(queries, keys, dtype=torch.bool, device=device).tril(before)
    return mask.triu(before - window + 1) if cut and window is not None else mask


def softcapped(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    mask: torch.Tensor | None,
    form: Form,
) -> torch.Tensor:
    """Attention `(B, H, Q, D)` with capped scores, which no kernel of SDPA knows.

    `key` and `value` may have fewer heads; `mask` is boolean (True: look) or additive.
    """
    groups = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    scores = (query @ key.transpose(-1, -2)) * form.scale
    if form.softcap is not None:
        scores = form.softcap * torch.tanh(scores / form.softcap)
    if mask is not None and mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    elif mask is not None:
        scores = scores + mask
    exact = torch.promote_types(scores.dtype, torch.float32)
    weights = functional.softmax(scores, dim=-1, dtype=exact).to(value.dtype)
    return functional.dropout(weights, form.dropout, training=form.dropout > 0) @ value
