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

from zephyrctl.training.rows import IGNORED


@dataclass(frozen=True)
class Shares:
    """Factors of one pass; each is 1 where all passes of the step hold the same."""

    pairs: float
    chosen_tokens: float
    """Of this pass on all processes."""
    rejected_tokens: float
    tokens: float
    own_chosen_tokens: float
    """Of this pass on this process alone."""

    def of_metric(self, name: str) -> float:
        """The factor of a training metric of TRL 1.16, by what it is a mean of."""
        return {
            "entropy": self.tokens,
            "mean_token_accuracy": self.chosen_tokens,
            "logits/chosen": self.chosen_tokens,
            "logits/rejected": self.rejected_tokens,
        }.get(name, self.pairs)


WHOLE = Shares(1.0, 1.0, 1.0, 1.0, 1.0)


def of_step(batches: Sequence[dict[str, Any]], *, device: torch.device) -> list[Shares]:
    """The factors of each pass of a step. `completion_mask` of a pass is `(2B, S)`, all chosen
    first; every process must call this."""
    own = torch.tensor([_counts(batch["completion_mask"]) for batch in batches])  # (K, 3)
    every = _over_all_processes(own, device=device)
    world_size = dist.get_world_size() if dist.is_initialized() else 1
    pairs, chosen, rejected = every.unbind(dim=1)
    columns = (
        _factors(pairs, of=pairs),
        _factors(chosen, of=chosen),
        _factors(rejected, of=rejected),
        _factors(chosen + rejected, of=chosen + rejected),
        _factors(own[:, 1] * world_size, of=chosen),
    )
    return [Shares(*factors) for factors in zip(*columns, strict=True)]


def of_labels(batches: Sequence[dict[str, Any]], *, device: torch.device) -> list[float]:
    """The share of the step's labels that each pass holds, times the number of passes. `labels` of
    a pass are `(B, S)`; as `of_step`, for dialogues."""
    own = torch.tensor([int(batch["labels"][:, 1:].ne(IGNORED).sum()) for batch in batches])
    tokens = _over_all_processes(own, device=device)
    return _factors(tokens, of=tokens)


def _over_all_processes(counts: torch.Tensor, *, device: torch.device) -> torch.Tensor:
    if not dist.is_initialized():
        return counts
    total = counts.clone().to(device)
    dist.all_reduce(total)
    return total.cpu()


def _counts(mask: torch.Tensor) -> list[int]:
    """Pairs, chosen tokens and rejected tokens. The first position is never a label."""
    chosen, rejected = mask[:, 1:].sum(dim=1).chunk(2)
    return [len(chosen), int(chosen.sum()), int(rejected.sum())]


def _factors(counts: torch.Tensor, *, of: torch.Tensor) -> list[float]:
    """`counts` `(K,)` over the mean of `of` `(K,)`."""
    total = int(of.sum())
    return [count * len(of) / total if total else 1.0 for count in counts.tolist()]
