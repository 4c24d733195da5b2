"""How is attention over documents computed where there is no kernel for it? (one SDPA each)

Runs on every device and in every number format, float64 included. On a CPU it is also fast: SDPA's
kernel there needs no mask where a document looks at itself alone, and the mask of a document that
continues another costs less than computing the other one again.
"""

from functools import lru_cache

import torch
from torch.nn import functional

from zephyrctl.training.attention.dense import bottom_right, softcapped
from zephyrctl.training.attention.documents import Documents, Form, gathered

_mask = lru_cache(maxsize=16)(bottom_right)


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    documents: Documents,
    form: Form,
) -> torch.Tensor:
    """Attention of every segment: `(1, T, H, D)` from queries `(1, H, T, D)`, and keys and values
    that may have fewer heads.

    Cut and joined with the rows before the heads, as they lie in memory: other copies are slower.
    """
    queries = documents.starts_q.diff().tolist()
    keys = documents.starts_k.diff().tolist()
    query, key, value = (x.transpose(1, 2) for x in (query, key, value))
    parts = zip(
        query.split(queries, dim=1),
        gathered(key, documents, dim=1).split(keys, dim=1),
        gathered(value, documents, dim=1).split(keys, dim=1),
        strict=True,
    )
    return torch.cat([_segment(*part, form=form) for part in parts if part[0].shape[1]], dim=1)


def _segment(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, form: Form
) -> torch.Tensor:
    queries, keys = query.shape[1], key.shape[1]
    query, key, value = (x.transpose(1, 2) for x in (query, key, value))
    plain = queries == keys and (form.window is None or form.window >= keys)
    if form.softcap is not None:
        mask = _mask(queries, keys, window=form.window, device=query.device)
        return softcapped(query, key, value, mask=mask, form=form).transpose(1, 2)
    out = functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=None if plain else _mask(queries, keys, window=form.window, device=query.device),
        dropout_p=form.dropout,
        is_causal=plain and queries > 1,
        scale=form.scale,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return out.transpose(1, 2)
