"""How many tokens do the prepared rows have, and how many are computed for them?

Read from the Parquet files of a run's data stage, which hold nothing but token ids.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Stage = Literal["sft", "dpo"]
Row = tuple[int, ...]
"""Tokens of a dialogue and how many of them are trained, `(n, labelled)`, or those of a pair:
`(prompt, chosen, rejected)`."""


@dataclass(frozen=True)
class Layout:
    """How examples stand in a forward pass: padded to the longest, or in one row; and whether a
    pair's prompt is in it once."""

    padding_free: bool
    shared: bool = False


@dataclass(frozen=True)
class Costs:
    """What the rows of a training split cost."""

    examples: int
    real: float
    """Mean tokens of an example as it is: both sequences of a pair, the prompt in each."""
    alone: float
    """Mean tokens of an example in one row without padding, the prompt of a pair once if shared."""
    longest: int
    """Tokens of the costliest example."""
    largest_step: int
    """Most tokens of a step on one process."""
    labelled: float
    """Share of the tokens of a row without padding that have a label."""
    prompts: float = 0.0
    """Mean tokens of a prompt."""


def read(data: Path, stage: Stage) -> list[Row] | None:
    """Lengths of the training rows under a run's data folder; None where there are none."""
    path = data / stage / "train.parquet"
    if not path.is_file():
        return None
    from pyarrow.parquet import ParquetFile

    names = ["input_ids"] if stage == "sft" else ["prompt_ids", "chosen_ids", "rejected_ids"]
    columns: list[list[int]] = [[] for _ in range(2 if stage == "sft" else 3)]
    with ParquetFile(path) as file:
        masked = "assistant_mask" in file.schema_arrow.names
        wanted = [*names, "assistant_mask"] if stage == "sft" and masked else names
        for batch in file.iter_batches(columns=wanted):
            found = [_list_lengths(batch.column(name)) for name in names]
            if stage == "sft":
                found.append(_list_sums(batch.column("assistant_mask")) if masked else found[0])
            for column, values in zip(columns, found, strict=True):
                column += values
    rows = list(zip(*columns, strict=True))
    return rows or None


def _list_lengths(column: Any) -> list[int]:
    from pyarrow import compute

    run: Any = compute  # its functions are made at run time, where no type checker sees them
    return run.list_value_length(column).to_pylist()


def _list_sums(column: Any) -> list[int]:
    """Sum of each list, by differences of the running sum: the lists hold millions of tokens."""
    import pyarrow as pa
    from pyarrow import compute

    run: Any = compute
    running = run.cumulative_sum(run.cast(column.flatten(), pa.int64()))
    ends = list(itertools.accumulate(_list_lengths(column)))
    sums = [0, *(running[end - 1].as_py() if end else 0 for end in ends)]
    return [after - before for before, after in itertools.pairwise(sums)]


def cost(row: Row, layout: Layout) -> int:
    """Tokens that one example computes: alone in its pass where it is padded."""
    if len(row) == 2:
        return row[0]
    prompt, chosen, rejected = row
    if not layout.padding_free:
        return 2 * (prompt + max(chosen, rejected))
    # The last token of a completion is never an input; a shared prompt's last token stands in
    # each branch.
    return (prompt - 1) * (1 if layout.shared else 2) + chosen + rejected


def costs_of(rows: Sequence[Row], layout: Layout, *, share: int = 1) -> Costs:
    """The costs of all rows, of which a process takes `share` in each step."""
    alone = sorted((cost(row, layout) for row in rows), reverse=True)
    total = sum(alone)
    most = sum(alone[:share]) if layout.padding_free else share * alone[0]
    if len(rows[0]) == 2:
        labelled, real, prompts = sum(row[1] for row in rows), total, 0
    else:
        labelled = sum(chosen + rejected for _, chosen, rejected in rows)
        prompts = sum(row[0] for row in rows)
        real = 2 * prompts + labelled
    count = len(rows)
    return Costs(
        examples=count,
        real=real / count,
        alone=total / count,
        longest=alone[0],
        largest_step=most,
        labelled=min(1.0, labelled / max(1, total)),
        prompts=prompts / count,
    )


@dataclass(frozen=True)
class Traffic:
    """Tokens computed for one pass over the rows, and forward passes per step and process."""

    computed: float
    passes: int
    largest: int
    """Tokens of the largest pass, padding included."""


def traffic(
    rows: Sequence[Row],
    layout: Layout,
    *,
    batch: int,
    processes: int,
    limit: int,
    micro_batch: int | None = None,
) -> Traffic:
    """What an epoch computes: shuffled steps of `batch` examples, each sorted by length and cut
    into passes of at most `limit` tokens, or of `micro_batch` examples."""
    each = [cost(row, layout) for row in rows]
    random.Random(0).shuffle(each)
    computed, passes, largest = 0.0, 1, 0
    for start in range(0, len(each), batch):
        step = sorted(each[start : start + batch], reverse=True)[::processes]
        sizes = _passes(step, padded=not layout.padding_free, limit=limit, number=micro_batch)
        examples = each[start : start + batch]
        computed += sum(sizes) * processes if not layout.padding_free else sum(examples)
        passes = max(passes, len(sizes))
        largest = max(largest, *sizes)
    return Traffic(computed, passes, largest)


def _passes(tokens: Sequence[int], *, padded: bool, limit: int, number: int | None) -> list[int]:
    """Tokens of each pass of a step, longest examples first."""
    sizes: list[int] = []
    start = 0
    while start < len(tokens):
        end, total = start, 0
        while end < len(tokens):
            grown = tokens[start] * (end + 1 - start) if padded else total + tokens[end]
            over = grown > limit if number is None else end - start >= number
            if over and end > start:
                break
            total, end = grown, end + 1
        sizes.append(total)
        start = end
    return sizes
