"""How likely are given tokens under a model? By a plain forward pass, without any trainer.

It shares no code with TRL's fused head, so that comparing the two checks both.
"""

from typing import Any

import torch

from zephyrctl.training.rows import IGNORED

_BATCH = 4

Documents = list[tuple[list[int], list[int]]]
"""(ids, labels) of each document, both `(T,)`; a label of −100 is not scored."""


@torch.no_grad()
def token_losses(model: Any, documents: Documents) -> tuple[list[float], list[int]]:
    """Summed negative log-likelihood of the labelled tokens of each document, and their number."""
    model.eval()
    order = sorted(range(len(documents)), key=lambda i: -len(documents[i][0]))
    sums = [0.0] * len(documents)
    counts = [0] * len(documents)
    for start in range(0, len(order), _BATCH):
        chosen = order[start : start + _BATCH]
        ids, mask = _padded([documents[i][0] for i in chosen], model.device)
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        for row, index in enumerate(chosen):
            labels = torch.tensor(documents[index][1][1:], device=logits.device)  # (T-1,)
            places = (labels != IGNORED).nonzero()[:, 0]
            scores = logits[row, places].float().log_softmax(dim=-1)  # (K, V)
            found = scores.gather(1, labels[places, None])[:, 0]
            sums[index] = -float(found.double().sum())
            counts[index] = len(places)
    return sums, counts


def _padded(rows: list[list[int]], device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded ids and mask, `(B, T)`."""
    longest = max(len(row) for row in rows)
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows], device=device)
    mask = torch.tensor(
        [[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=device
    )
    return ids, mask
