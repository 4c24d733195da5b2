"""Which rows of a packed row belong to which document, and which rows may it look at?"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Documents:
    """Segments of one packed row of T tokens.

    Segment n asks with the rows `starts_q[n]` to `starts_q[n + 1]` of the row and looks at the
    rows `kv_index[starts_k[n]:starts_k[n + 1]]`, or without an index at the rows
    `starts_k[n]` to `starts_k[n + 1]`. The last query looks at the last key (causal, aligned
    bottom-right), so that a segment may continue rows that another one owns as well.
    """

    starts_q: torch.Tensor
    """(N + 1,) int32, the last of which is T."""
    starts_k: torch.Tensor
    """(N + 1,) int32, the last of which is K."""
    longest_q: int
    longest_k: int
    kv_index: torch.Tensor | None = None
    """(K,) int64, or None where every segment looks at its own rows."""


@dataclass(frozen=True)
class Form:
    """How a layer computes its attention."""

    scale: float
    """Factor on the product of query and key."""
    window: int | None = None
    """Number of keys in sight, a token's own included; None is all of them."""
    softcap: float | None = None
    """Scores are bent to `softcap * tanh(score / softcap)` (Gemma 2, arXiv 2408.00118, §2)."""
    dropout: float = 0.0


def gathered(tensor: torch.Tensor, documents: Documents, *, dim: int) -> torch.Tensor:
    """Rows of keys or values in the order of `starts_k`. The backward pass sums the gradients of a
    row that several segments look at."""
    if documents.kv_index is None:
        return tensor
    return tensor.index_select(dim, documents.kv_index)
