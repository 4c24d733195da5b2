"""Which token comes next? Legend: B rows, V vocabulary, K candidates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from zephyrctl.generation.rows import Row, Score
from zephyrctl.generation.sampling import Sampling

_UNUSED_SETTINGS = {
    "no_repeat_ngram_size": 0, "encoder_no_repeat_ngram_size": 0, "min_new_tokens": None,
    "min_length": 0, "bad_words_ids": None, "sequence_bias": None, "num_beams": 1,
    "guidance_scale": None, "exponential_decay_length_penalty": None,
}  # fmt: skip
"""Settings of `generation_config.json` that change answers and are not applied, with the value
that means off."""


def unused_settings(settings: Any) -> list[str]:
    """Names of the settings in a model's generation config that are left out here."""
    return [
        name
        for name, off in _UNUSED_SETTINGS.items()
        if getattr(settings, name, off) not in (off, None)
    ]


def repetition_penalty(settings: Any) -> float:
    """CTRL's penalty as the model's generation config has it; 1 is none."""
    return float(getattr(settings, "repetition_penalty", None) or 1.0)


def adjusted(logits: torch.Tensor, read: Sequence[Sequence[int]], settings: Any) -> torch.Tensor:
    """Logits (B, V) under the model's own penalty and suppressed tokens; changed in place.

    `read` holds each row's tokens, prompt included, where there is a penalty; padding has none.
    """
    penalty = repetition_penalty(settings)
    if penalty != 1.0:
        for place, tokens in enumerate(read):
            seen = torch.tensor(sorted(set(tokens)), device=logits.device)
            scores = logits[place, seen]
            logits[place, seen] = torch.where(scores < 0, scores * penalty, scores / penalty)
    suppressed = getattr(settings, "suppress_tokens", None)
    if suppressed:
        logits[:, list(suppressed)] = -torch.inf
    return logits


def next_tokens(logits: torch.Tensor, rows: Sequence[Row]) -> list[int]:
    """Each row's next token, from logits (B, V), by its own settings and its own draw.

    Rows of the same settings are drawn together, which changes nothing for any of them.
    """
    groups: dict[tuple[float, float, int] | None, list[int]] = {}
    for place, row in enumerate(rows):
        one = row.sampling
        key = None if one.is_greedy else (one.temperature, one.top_p, one.top_k)
        groups.setdefault(key, []).append(place)
    tokens = [0] * len(rows)
    for key, places in groups.items():
        theirs = logits if len(groups) == 1 else logits[places]
        if key is None:
            found = theirs.argmax(dim=-1)
        else:
            draws = [rows[place].draws.random() for place in places]
            found = draw(theirs, draws, rows[places[0]].sampling)
        for place, token in zip(places, found.tolist(), strict=True):
            tokens[place] = token
    return tokens


def scores_of(logprobs: torch.Tensor, tokens: Sequence[int], counts: Sequence[int]) -> list[Score]:
    """Scores of the tokens chosen, from log-probabilities (B, V); `counts` holds how many of the
    likeliest tokens each names."""
    chosen = torch.tensor(tokens, device=logprobs.device)[:, None]
    own = logprobs.gather(1, chosen)[:, 0].tolist()
    values, ids = logprobs.topk(min(max(counts), logprobs.shape[-1]), dim=-1)
    return [
        Score(value, tuple(zip(places[:count], numbers[:count], strict=True)))
        for value, places, numbers, count in zip(
            own, ids.tolist(), values.tolist(), counts, strict=True
        )
    ]


def draw(logits: torch.Tensor, draws: Sequence[float], sampling: Sampling) -> torch.Tensor:
    """One token (B,) per row of `logits` (B, V), by the inverse of the cumulative distribution.

    `draws` holds one number in [0, 1) per row. Temperature, then top-k, then top-p, in the order
    of transformers' logits warpers. The distribution is summed up in the order of the vocabulary:
    by rank, the last bits of the logits would decide between neighbours of nearly one probability,
    and these bits depend on what is read together (measured: 2 of 200 answers became others).
    """
    if logits.device.type == "mps":  # which has no float64
        logits = logits.cpu()
    scores = (logits / sampling.temperature).double()
    if sampling.top_k or sampling.top_p < 1.0:
        count = min(sampling.top_k or scores.shape[-1], scores.shape[-1])
        ranked, order = torch.topk(scores, count, dim=-1)  # (B, K), best first
        best = torch.softmax(ranked, dim=-1)
        before = best.cumsum(dim=-1) - best
        best = best.masked_fill(before >= sampling.top_p, 0.0)
        probabilities = torch.zeros_like(scores).scatter(1, order, best)
    else:
        probabilities = torch.softmax(scores, dim=-1)
    cumulative = probabilities.cumsum(dim=-1)
    at = torch.tensor(draws, dtype=torch.float64, device=logits.device)[:, None]
    place = torch.searchsorted(cumulative, at * cumulative[:, -1:], right=True)
    # Rounded up to the whole sum, a draw would be past the last token that can be drawn.
    last = (cumulative < cumulative[:, -1:]).sum(dim=-1, keepdim=True)
    return torch.minimum(place, last)[:, 0]
