"""How does NEFTune disturb the embeddings? (arXiv 2310.05914, Algorithm 1)

X' = X + α/√(L·d) · ε with ε ~ U(−1, 1), for L tokens of d dimensions. transformers 5.23 takes for L
the width of the batch: padding would weaken the noise of short examples, and in a row of eight
documents the noise of each would be √8 times too weak. Here L is the length of the example itself,
so the noise does not depend on what shares its forward pass.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


class EmbeddingNoise:
    """A forward hook on the embedding layer; it acts in training mode only."""

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha
        self.lengths: torch.Tensor | None = None
        """Tokens of the example that each token belongs to, `(B, S)` or `(B, 1)`."""

    def __call__(self, module: Any, inputs: Any, embedded: torch.Tensor) -> torch.Tensor:
        """Embeddings `(B, S, d)` with noise added."""
        del inputs
        if not module.training or self.lengths is None:
            return embedded
        scale = self.alpha * (self.lengths * embedded.shape[-1]).double().rsqrt()
        noise = torch.rand_like(embedded) * 2 - 1
        return embedded + noise * scale[..., None].to(embedded)

    @contextmanager
    def on(self, model: Any) -> Iterator[None]:
        """Disturb the embeddings of this model within the block."""
        handle = model.get_input_embeddings().register_forward_hook(self)
        try:
            yield
        finally:
            handle.remove()


def lengths_by_token(inputs: Any) -> torch.Tensor:
    """Tokens of the example that each token belongs to: `(1, T)` of a row of documents, `(B, 1)`
    of padded rows."""
    if "cu_seq_lens_q" in inputs:
        sizes = inputs["cu_seq_lens_q"].diff().long()
        return sizes.repeat_interleave(sizes)[None]
    return inputs["attention_mask"].sum(dim=1, keepdim=True)
