"""Does a published model say what the model says that it was made from?

The measure is the log-probability of every token of a few texts, computed in float32 on both
sides: what differs then is the rounding of the weights, or a fault.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from zephyrctl.data.load import split_file
from zephyrctl.data.messages import Message
from zephyrctl.data.tokens import encode_prompt
from zephyrctl.errors import DataError, JobFailed
from zephyrctl.runs.references import ModelRef

TOLERANCE = {"float32": 0.001, "float16": 0.01, "bfloat16": 0.05}
"""Largest mean difference of a token's log-probability, in nats, between the unmerged chain and
the published weights, both computed in float32. What rounding a weight to 11 or 8 bits moves."""
_TEXTS = 4
_LONGEST = 512
FIXED = (
    "What is the capital of France?",
    "Write two sentences about the sea, then list three colours.",
    "Explain to a child why the sky is blue.",
)
"""Asked of a model whose run left no held-out rows."""


@torch.inference_mode()
def log_probs(model: Any, rows: list[list[int]]) -> torch.Tensor:
    """Log-probability of every token after the first of each row, one after the other (N,).

    Computed in float32 whatever the weights are stored in.
    """
    model.eval()
    found = []
    for row in rows:
        ids = torch.tensor([row], device=model.device)  # (1, T)
        scores = model(input_ids=ids, use_cache=False).logits[0, :-1].float().log_softmax(dim=-1)
        found.append(scores.gather(1, ids[0, 1:, None])[:, 0])
    return torch.cat(found)


def compared(before: torch.Tensor, after: torch.Tensor, number_format: str, where: Path) -> float:
    """The mean absolute difference; JobFailed where it is over the tolerance, or not a number."""
    difference = float((after - before).abs().mean())
    tolerance = TOLERANCE[number_format]
    if difference <= tolerance:
        return difference
    wider = "float32" if number_format == "bfloat16" else "bfloat16"
    raise JobFailed(
        f"the exported weights do not say what the model says: a token's log-probability moves by "
        f"{difference:.4f} nats on average, and {tolerance} is allowed in {number_format}",
        where=str(where),
        hint=f"--dtype {wider}" if number_format != "float32" else "please report this",
    )


def texts_to_compare(ref: ModelRef, tokenizer: Any) -> tuple[list[list[int]], str]:
    """Token ids to compare on, and what they are: held-out rows of the run, else fixed prompts."""
    if ref.run is not None:
        for stage in ("dpo", "sft"):
            try:
                rows = _held_out(split_file(ref.run, stage, "test"))
            except DataError:  # this run did not prepare data for that stage
                continue
            if rows:
                return rows, "held-out rows of the run"
    return fixed_rows(tokenizer), "fixed prompts"


def fixed_rows(tokenizer: Any) -> list[list[int]]:
    """The fixed prompts as a model reads them."""
    return [encode_prompt(tokenizer, [Message("user", text)])[:_LONGEST] for text in FIXED]


def _held_out(path: Path) -> list[list[int]]:
    from pyarrow.parquet import ParquetFile

    batch = next(ParquetFile(path).iter_batches(batch_size=_TEXTS), None)
    records = batch.to_pylist() if batch is not None else []
    rows = [
        record["input_ids"]
        if "input_ids" in record
        else record["prompt_ids"] + record["chosen_ids"]
        for record in records
    ]
    return [row[:_LONGEST] for row in rows if len(row) > 1]
