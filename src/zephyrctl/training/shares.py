"""How much does one forward pass count in its optimizer step?

TRL averages over the pairs of a pass, and transformers over the passes of a step. Where the passes
differ in size, each must count by what it holds, so that the step is the mean over all its pairs
however they were split.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class Shares:
    """Factors of one pass; each is 1 where all passes of the step hold the same."""

    pairs: float
    chosen_tokens: float
    rejected_tokens: float
    tokens: float

    def of_metric(self, name: str) -> float:
        """The factor of a training metric of TRL 1.16, by what it is a mean of."""
        return {
            "entropy": self.tokens,
            "mean_token_accuracy": self.chosen_tokens,
            "logits/chosen": self.chosen_tokens,
            "logits/rejected": self.rejected_tokens,
        }.get(name, self.pairs)


WHOLE = Shares(1.0, 1.0, 1.0, 1.0)


def of_step(batches: Sequence[dict[str, Any]], *, device: torch.device) -> list[Shares]:
    """The factors of each pass of a step. `completion_mask` of a pass is `(2B, S)`, all chosen
    first; tokens are counted over all processes, and every process must call this."""
    counts = torch.tensor([_counts(batch["completion_mask"]) for batch in batches])  # (K, 3)
    if dist.is_initialized():
        counts = counts.to(device)
        dist.all_reduce(counts)
    pairs, chosen, rejected = (_factors(column) for column in counts.T.tolist())
    both = _factors((counts[:, 1] + counts[:, 2]).tolist())
    return [Shares(*factors) for factors in zip(pairs, chosen, rejected, both, strict=True)]


def _counts(mask: torch.Tensor) -> list[int]:
    """Pairs, chosen tokens and rejected tokens. The first position is never a label."""
    chosen, rejected = mask[:, 1:].sum(dim=1).chunk(2)
    return [len(chosen), int(chosen.sum()), int(rejected.sum())]


def _factors(counts: list[int]) -> list[float]:
    total = sum(counts)
    return [count * len(counts) / total if total else 1.0 for count in counts]
