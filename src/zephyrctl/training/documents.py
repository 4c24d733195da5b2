"""What did the model make of each document of a row, and do the documents stay apart?"""

from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset

from zephyrctl.errors import ConfigError
from zephyrctl.training.packing import documents_of
from zephyrctl.training.scoring import token_losses

TOLERANCE = 1e-4
TOLERANCE_BF16 = 2e-2
"""Largest difference of a document's mean log-prob between a shared row and a row of its own."""
_CHECKED_ROWS, _CHECKED_DOCUMENTS, _CHECKED_TOKENS = 2, 3, 64
"""Rows of the check, documents of each, tokens of each: enough to tell, and soon done on a CPU."""


def sums_by_document(values: torch.Tensor, boundaries: torch.Tensor | None) -> torch.Tensor:
    """Sum of each document's values, `(N,)` float64.

    `values` are those of the predicted tokens, that is without the first of a row: `(B, S-1)` with
    a document per row, or `(1, T-1)` with `boundaries` `(N+1,)` between the documents of the row.
    """
    values = values.double()
    if boundaries is None:
        return values.sum(dim=1)
    tokens = torch.nn.functional.pad(values[0], (1, 0))  # (T,)
    return torch.segment_reduce(tokens, "sum", lengths=boundaries.diff().long())


def check_apart(trainer: Any, rows: Dataset, lengths: Sequence[int]) -> float:
    """Largest difference of a document's mean log-prob when it shares a row with others.

    The beginnings of a few documents are scored as the trainer joins them, and one by one, all
    tokens counted. ConfigError where they differ: the documents see each other.
    """
    shortest = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))[:_CHECKED_ROWS]
    chosen = [_beginnings(row) for row in rows.select(shortest).to_list()]
    documents = [document for row in chosen for document in documents_of(row)]
    model, bf16 = trainer.model, trainer.args.bf16
    was_training = model.training
    model.eval()
    with torch.no_grad(), torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
        inputs = trainer._prepare_inputs(trainer.data_collator(chosen))
        together = model(**inputs, fused_lm_head=True, use_cache=False).log_probs
        apart, counts = token_losses(model, documents)
    model.train(was_training)
    log_probs = sums_by_document(together, inputs["cu_seq_lens_q"]).tolist()
    worst = max(
        abs(log_prob + loss) / max(1, count)
        for log_prob, loss, count in zip(log_probs, apart, counts, strict=True)
    )
    if not worst <= (TOLERANCE_BF16 if bf16 else TOLERANCE):
        raise ConfigError(
            "dialogues that share a row see each other under this model: alone, a dialogue's mean "
            f"log-prob is another by {worst:.2g}",
            where="sft.packing" if "seq_lengths" in rows.column_names else "sft.padding_free",
            hint="--set sft.packing=none --set sft.padding_free=false",
        )
    return worst


def _beginnings(row: dict[str, Any]) -> dict[str, list[int]]:
    """A row of the first tokens of the row's first documents, all of them labels."""
    pieces = [ids[:_CHECKED_TOKENS] for ids, _ in documents_of(row)[:_CHECKED_DOCUMENTS]]
    ids = [token for piece in pieces for token in piece]
    return {"input_ids": ids, "labels": ids, "seq_lengths": [len(piece) for piece in pieces]}
