"""How is a batch of preference pairs computed without padding, and each prompt once?

Exact, below TRL's loss: the collator keeps TRL's padded tensors and adds a plan; the model computes
one packed row by that plan, and what TRL reads of every token is put back in its place.

A pair with a prompt of P tokens and completions of C and R is laid out as the prompt without its
last token, then that token and the chosen completion without its last, then the same of the
rejected one: P + C + R - 1 rows in place of 2P + C + R. Forking one token early leaves one label to
a row. The rows of the rejected completion look at the keys of the prompt's rows as well; in the
backward pass the gradients of both completions meet there.
"""

import functools
import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from trl.trainer.dpo_trainer import DataCollatorForPreference

from zephyrctl.errors import JobFailed
from zephyrctl.training import attention
from zephyrctl.training.rows import IGNORED

PER_TOKEN = ("log_probs", "entropy", "log_sum_sq_probs", "mean_logits", "is_top1", "label_mask")
"""What the outputs of TRL's fused head hold of every token."""
PADDED = ("input_ids", "attention_mask", "position_ids", "labels")
"""Arguments of the padded batch, in whose place the plan's stand."""
INSIDE = "_forward_of_rows"

Lengths = Sequence[tuple[int, int, int]]
Numbers = np.ndarray[Any, np.dtype[np.int64]]


def tokens(prompt: int, chosen: int, rejected: int, *, share: bool) -> int:
    """Rows of the packed row that a pair of these lengths costs."""
    return (prompt - 1) * (1 if share else 2) + chosen + rejected


@dataclass
class PairCollator(DataCollatorForPreference):
    """TRL's collator for pairs of token ids, with the plan of the packed row under `shared`.

    TRL's `truncation_mode` must stay `keep_start`: cut from the start, the completions of a pair
    would not continue the same prompt.
    """

    share: bool = True
    """Compute each prompt once. Otherwise the two sequences of a pair stand side by side."""
    balances_experts: bool = False
    """The loss has a router's balance in it. Then the last token of each completion is computed
    too, though nothing is predicted from it, and a shared prompt counts twice, as in the padded
    batch."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Batch of B pairs: `input_ids` and masks `(2B, S)`, all chosen before all rejected."""
        batch = super().torch_call(examples)
        batch["shared"] = plan(
            batch["input_ids"].numpy(),
            [self._lengths(example) for example in examples],
            share=self.share,
            balances_experts=self.balances_experts,
        )
        return batch

    def _lengths(self, example: dict[str, Any]) -> tuple[int, int, int]:
        prompt, chosen, rejected = (
            len(example[name]) for name in ("prompt_ids", "chosen_ids", "rejected_ids")
        )
        if self.max_length is None:
            return prompt, chosen, rejected
        prompt = min(prompt, self.max_length)
        room = self.max_length - prompt
        return prompt, min(chosen, room), min(rejected, room)


def plan(
    input_ids: Numbers, lengths: Lengths, *, share: bool, balances_experts: bool = False
) -> dict[str, Any]:
    """Arguments of the forward pass over one packed row of T tokens, and where its M labelled rows
    belong in the padded grid `(2B, S - 1)`.

    `input_ids` is the padded batch `(2B, S)`; `lengths` are prompt, chosen and rejected of each
    pair. The first eight entries bear the names that the model knows them by.
    """
    prompt, chosen, rejected = np.asarray(lengths, dtype=np.int64).T
    pairs, width = len(prompt), input_ids.shape[1]
    last = int(balances_experts)
    zeros, fork = np.zeros_like(prompt), prompt - 1
    chosen_row = np.arange(pairs)
    # Blocks of the row, pair by pair: (row of the batch, first position, rows, labelled rows).
    head = (chosen_row, zeros, fork, zeros)
    kept = (chosen_row, fork, chosen + last, chosen)
    again = (chosen_row + pairs, zeros, fork, zeros)
    dropped = (chosen_row + pairs, fork, rejected + last, rejected)
    layout = (head, kept, dropped) if share else (head, kept, again, dropped)
    row, first, rows, labelled = (
        np.stack(column, axis=1).ravel() for column in zip(*layout, strict=True)
    )
    positions = _ranges(first, rows)
    source = np.repeat(row, rows) * width + positions
    offset = _ranges(np.zeros_like(first), rows)
    scored = np.flatnonzero(offset < np.repeat(labelled, rows))
    shift_labels = np.full(len(positions), IGNORED, dtype=np.int64)
    ids = input_ids.ravel()
    shift_labels[scored] = ids[source[scored] + 1]
    made: dict[str, Any] = {
        "input_ids": _row(ids[source]),
        "position_ids": _row(positions),
        "shift_labels": _row(shift_labels),
        **_documents(rows.reshape(pairs, -1), share=share),
        "scored": torch.from_numpy(scored),
        # A grid of S - 1 columns: row and position of the padded batch, one column less per row.
        "destination": torch.from_numpy((source - np.repeat(row, rows))[scored]),
    }
    if balances_experts:
        twice = np.tile([2.0, 1.0, 1.0] if share else [1.0] * 4, pairs)
        made["weights"] = _row(np.repeat(twice, rows))
    return made


def _documents(rows: Numbers, *, share: bool) -> dict[str, Any]:
    """Segments of attention from the rows of each block, `(B, 3)` shared or `(B, 4)` not."""
    if share:
        head, kept, dropped = rows.T
        queries = np.stack((head + kept, dropped), axis=1).ravel()
        keys = np.stack((head + kept, head + dropped), axis=1).ravel()
        keys[queries == 0] = 0
        starts = (rows.ravel().cumsum() - rows.ravel()).reshape(rows.shape)
        looked_at = (starts[:, 0], starts[:, 0], starts[:, 2])
        many = (head + kept, head * (dropped > 0), dropped)
        index = _ranges(np.stack(looked_at, axis=1).ravel(), np.stack(many, axis=1).ravel())
    else:
        queries = keys = rows.reshape(-1, 2).sum(axis=1)
        index = None
    queries, keys = queries[queries > 0], keys[queries > 0]
    documents = {
        "cu_seq_lens_q": _starts(queries),
        "cu_seq_lens_k": _starts(keys),
        "max_length_q": int(queries.max(initial=0)),
        "max_length_k": int(keys.max(initial=0)),
    }
    return documents if index is None else documents | {"kv_index": torch.from_numpy(index)}


def _ranges(firsts: Numbers, lengths: Numbers) -> Numbers:
    """`firsts[i], firsts[i] + 1, …` of each length, one after another."""
    before = lengths.cumsum() - lengths
    return np.arange(lengths.sum()) + np.repeat(firsts - before, lengths)


def _starts(lengths: Numbers) -> torch.Tensor:
    starts = np.zeros(len(lengths) + 1, dtype=np.int32)
    starts[1:] = lengths.cumsum()
    return torch.from_numpy(starts)


def _row(values: Any) -> torch.Tensor:
    return torch.from_numpy(values).unsqueeze(0)


def install(model: Any) -> None:
    """Let `model`, which must have TRL's fused head, compute batches that carry a plan.

    Called after TRL has added the head, on policy and reference alike. A batch without a plan, and
    every call without the fused head, goes on as before.
    """
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    if hasattr(plain, INSIDE):
        return
    attention.install(plain)
    # An attribute and not a closure: a deep copy of the model must run its own weights.
    setattr(plain, INSIDE, plain.forward)

    # `generate` reads the signature to check its arguments.
    @functools.wraps(type(plain).forward)
    def forward(self: Any, *args: Any, shared: dict[str, Any] | None = None, **given: Any) -> Any:
        inside = getattr(self, INSIDE)
        if shared is None or not given.get("fused_lm_head"):
            return inside(*args, **given)
        return _in_one_row(inside, shared, given)

    plain.forward = types.MethodType(forward, plain)


def _in_one_row(inside: Any, shared: dict[str, Any], given: dict[str, Any]) -> Any:
    """Outputs of TRL's fused head over the packed row, on the padded grid `(2B, S - 1)`."""
    height, width = given["input_ids"].shape
    apart = {"scored", "destination", "weights"}
    told = {name: value for name, value in shared.items() if name not in apart}
    others = {name: value for name, value in given.items() if name not in PADDED}
    outputs = inside(**told, **others, attention_mask=shared.get("weights"))
    for name in PER_TOKEN:
        values = getattr(outputs, name)
        if values is not None:
            grid = values.new_zeros(height * (width - 1))
            own = values.reshape(-1).index_select(0, shared["scored"])
            setattr(
                outputs,
                name,
                grid.index_copy(0, shared["destination"], own).view(height, width - 1),
            )
    return outputs


@torch.no_grad()
def check(model: Any, batch: dict[str, Any], *, tolerance: float) -> float:
    """Largest difference of a token's log-prob between the plan of `batch` and its padded tensors.

    `batch` comes from `PairCollator` and lies where the model does. Raises JobFailed beyond
    `tolerance`, in nats.
    """
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, IGNORED)
    given = {
        "input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"],
        "labels": labels, "fused_lm_head": True, "use_cache": False,
    }  # fmt: skip
    was_training = model.training
    model.eval()
    try:
        packed = model(**given, shared=batch["shared"]).log_probs
        padded = model(**given).log_probs
    finally:
        model.train(was_training)
    worst = float((packed.double() - padded.double()).abs().max())
    if not worst <= tolerance:
        raise JobFailed(
            f"log-probs of the first batch differ by {worst:.3g} nats between the packed and the "
            f"padded computation, more than {tolerance:g}; this model's attention does not do "
            "what packing needs",
            hint="set dpo.padding_free: false",
        )
    return worst
