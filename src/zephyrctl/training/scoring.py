"""How likely are given tokens under a model? By a plain forward pass, without any trainer.

It shares no code with TRL's fused head, so that comparing the two checks both.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from zephyrctl.runs.signals import raise_if_stopping
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
        raise_if_stopping()
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


def score_pairs(
    model: Any, pairs: list[dict[str, Any]], *, ld_alpha: float | None
) -> npt.NDArray[np.float64]:
    """Summed log-probs of the chosen and the rejected completion of N pairs, `(N, 2)`.

    With `ld_alpha` the tokens by which one is longer than the other count by that factor, which is
    reckoned here from the completions cut to the shorter one.
    """
    shorter = [min(len(pair["chosen_ids"]), len(pair["rejected_ids"])) for pair in pairs]
    sides = []
    for name in ("chosen_ids", "rejected_ids"):
        whole = [_document(pair["prompt_ids"], pair[name]) for pair in pairs]
        sums = -np.array(token_losses(model, whole)[0])
        if ld_alpha is not None:
            cut = [
                _document(pair["prompt_ids"], pair[name][:length])
                for pair, length in zip(pairs, shorter, strict=True)
            ]
            shared = -np.array(token_losses(model, cut)[0])
            sums = shared + ld_alpha * (sums - shared)
        sides.append(sums)
    return np.stack(sides, axis=1)


def _document(prompt: list[int], completion: list[int]) -> tuple[list[int], list[int]]:
    """Both, with labels on the completion."""
    return prompt + completion, [IGNORED] * len(prompt) + completion


def _padded(rows: list[list[int]], device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded ids and mask, `(B, T)`."""
    longest = max(len(row) for row in rows)
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows], device=device)
    mask = torch.tensor(
        [[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=device
    )
    return ids, mask
