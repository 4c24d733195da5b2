"""Does a GGUF file say what the model says, and what does rounding cost?

Two comparisons, in nats per token. The file against the model with its weights rounded in memory as
the file's number format rounds them: nothing but the order of additions is left to differ, so that
the bound is tight and a wrong row, name or number stands out. And the file against the model as it
was trained: that is the price of the number format, which is told and bounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from zephyrctl.errors import JobFailed
from zephyrctl.publishing import agreement
from zephyrctl.publishing.chains import Summed, Unmerged
from zephyrctl.publishing.gguf import reading
from zephyrctl.publishing.gguf.architecture import ELSEWHERE
from zephyrctl.publishing.gguf.retokenizing import encoder_of
from zephyrctl.publishing.gguf.turns import sample_texts
from zephyrctl.publishing.gguf.writing import FileType, rounded
from zephyrctl.publishing.upcasting import compute_in_float32

UNEXPLAINED = 0.001
"""Largest difference of any token's log-probability, in nats, that rounding does not explain."""
TOLERANCE = {"f32": 0.001, "f16": 0.01, "bf16": 0.05, "q8_0": 0.15}
"""Largest mean difference, in nats, between the unmerged chain and the file: what rounding a weight
to 24, 11 or 8 bits, or a block of 32 to 8 bits each, may cost before the file is of little use."""
_CONTINUED = 24


@dataclass(frozen=True)
class Before:
    """What a chain says before it is written: log-probs (N,) of the rows, and greedy continuations
    (R, T) of equally long beginnings of them."""

    rows: list[list[int]]
    log_probs: torch.Tensor
    texts: torch.Tensor


@dataclass(frozen=True)
class Agreement:
    """How far a file is from the model it was made of. `difference` is the mean and `largest` the
    largest one against the chain, `unexplained` the largest one against the rounded weights."""

    difference: float
    largest: float
    unexplained: float
    same_text: int


def asked_before(live: Unmerged, rows: list[list[int]]) -> Before:
    """What the unmerged chain says."""
    return Before(rows, agreement.log_probs(live.model, rows), _continued(live.model, rows))


def as_rounded(summed: Summed, rows: list[list[int]], file_type: FileType) -> torch.Tensor:
    """Log-probs (N,) of a model whose weights are rounded as in a file of this type."""
    undo = compute_in_float32(
        summed.model, read=lambda name: rounded(summed.weight(name), file_type)
    )
    try:
        return agreement.log_probs(summed.model, rows)
    finally:
        undo()


def compared(
    path: Path, before: Before, expected: torch.Tensor, *, file_type: FileType, where: Path
) -> Agreement:
    """How far the file at `path` is from what is `expected` of it (see `as_rounded`) and from the
    chain; JobFailed where it is too far, or where a difference is not a number.

    `where` is the folder that the file is meant for.
    """
    model = reading.load(path)
    after = agreement.log_probs(model, before.rows)
    unexplained = float((after - expected).abs().max())
    if not unexplained <= UNEXPLAINED:
        raise JobFailed(
            f"the file does not say what was written: a token's log-probability is "
            f"{unexplained:.4f} nats off, and rounding explains all but {UNEXPLAINED}",
            where=str(where),
            hint="please report this",
        )
    apart = (after - before.log_probs).abs()
    found = Agreement(
        float(apart.mean()), float(apart.max()), unexplained, _same(model, before.texts)
    )
    if found.difference <= TOLERANCE[file_type]:
        return found
    wider = {"q8_0": "f16", "f16": "bf16", "bf16": "f32"}.get(file_type)
    raise JobFailed(
        f"the file does not say what the model says: a token's log-probability moves by "
        f"{found.difference:.4f} nats on average, and {TOLERANCE[file_type]} is allowed in "
        f"{file_type}",
        where=str(where),
        hint=f"--type {wider}" if wider else "please report this",
    )


def compare_ids(path: Path, tokenizer: Any) -> None:
    """JobFailed where llama.cpp would make other ids of a chat, by the file's keys."""
    encode = encoder_of(reading.keys_of(path))
    for text in sample_texts(tokenizer):
        if encode(text) != tokenizer.encode(text, add_special_tokens=False):
            raise JobFailed(
                f"llama.cpp would make other tokens of the chat {text!r} than the model was "
                "trained on",
                hint=ELSEWHERE,
            )


@torch.inference_mode()
def _continued(model: Any, rows: list[list[int]]) -> torch.Tensor:
    """The beginnings of the rows, equally long, each with what greedy decoding writes after it
    (R, T)."""
    model.eval()
    begun = min(max(1, len(row) // 2) for row in rows)
    ids = torch.tensor([row[:begun] for row in rows], device=model.device)
    cache = None
    for _ in range(_CONTINUED):
        new = ids if cache is None else ids[:, -1:]
        out = model(input_ids=new, past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        ids = torch.cat((ids, out.logits[:, -1].argmax(-1, keepdim=True)), dim=1)
    return ids


@torch.inference_mode()
def _same(model: Any, texts: torch.Tensor) -> int:
    """How many continuations another model writes too: each of its best tokens is the next one."""
    scores = model(input_ids=texts.to(model.device), use_cache=False).logits  # (R, T, V)
    best = scores[:, -_CONTINUED - 1 : -1].argmax(-1)
    return int((best == texts[:, -_CONTINUED:].to(best.device)).all(dim=1).sum())
