"""In which files, and in which order, does a contender find the rows?

Ours gets them as data preparation leaves them. TRL gets what our stage makes of them, in the order
in which our training sees them: the same rows, packed alike, in each optimizer step.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, Features, Value
from datasets import Sequence as ListOf

from steps.contenders import Contender, Course, recipe
from steps.models import text_of
from steps.rows import Row
from zephyrctl.config.schema import Recipe
from zephyrctl.runs.store import Run
from zephyrctl.training import dpo, order, sft

COLUMNS = {
    "dpo": ("prompt_ids", "chosen_ids", "rejected_ids"),
    "sft": ("input_ids", "assistant_mask"),
}


@dataclass(frozen=True)
class Step:
    """The real tokens of one optimizer step, and the sum of what each of them sees."""

    examples: int
    tokens: int
    context: float


def prepare_run(root: Path, who: Contender, course: Course, rows: Sequence[Row]) -> Run:
    """A run directory after `zephyrctl data prepare`, with nothing held out."""
    run = Run(root)
    root.mkdir(parents=True)
    settings = recipe(who, course, run=root)
    run.config_path.write_text(json.dumps(settings), encoding="utf-8")
    (root / "manifest.json").write_text("{}", encoding="utf-8")
    folder = run.stage("data").path / course.stage
    folder.mkdir(parents=True)
    names = COLUMNS[course.stage]
    features = Features(dict.fromkeys(names, ListOf(Value("int32"))))
    for split, present in (("train", rows), ("test", [])):
        columns = _columns(present) if course.stage == "sft" else _pair_columns(present)
        Dataset.from_dict(columns, features=features).to_parquet(folder / f"{split}.parquet")
        (folder / f"{split}.jsonl").write_text("", encoding="utf-8")
    return run


def ordered(run: Run, course: Course, *, by_length: bool) -> Dataset:
    """The training rows in the order of our training.

    Within an optimizer step they come by length, or as if drawn at random: a step's rows are the
    same either way.
    """
    settings: Recipe = run.recipe()
    method: Any = (dpo if course.stage == "dpo" else sft).Method(settings)
    splits = method.load(run)
    planned = order.plan(method.training, lengths=splits.lengths, seed=settings.seed)
    indices = list(planned.indices)
    size = method.training.global_batch_size
    rng = torch.Generator().manual_seed(settings.seed)
    for start in range(0, len(indices), size):
        step = indices[start : start + size]
        if not by_length:
            step = [step[i] for i in torch.randperm(len(step), generator=rng).tolist()]
        indices[start : start + size] = step
    return splits.train.select(indices)


def write_for_trl(folder: Path, rows: Dataset, *, stage: str) -> None:
    """Pairs as text that TRL tokenizes, dialogues as the ids and labels that TRL takes as well."""
    folder.mkdir()
    if stage == "dpo":
        names = {"prompt": "prompt_ids", "chosen": "chosen_ids", "rejected": "rejected_ids"}
        text = {ours: [text_of(ids) for ids in rows[theirs]] for ours, theirs in names.items()}
        rows = Dataset.from_dict(text)
    rows.to_parquet(folder / "train.parquet")


def steps_of(rows: Dataset, *, size: int) -> list[Step]:
    """What each optimizer step of `size` rows holds."""
    each = [_measure(row) for row in rows.to_list()]
    return [
        Step(len(part), sum(tokens for tokens, _ in part), sum(context for _, context in part))
        for part in (each[start : start + size] for start in range(0, len(each), size))
    ]


def _measure(row: dict[str, Any]) -> tuple[int, float]:
    if "prompt_ids" in row:
        prompt = len(row["prompt_ids"])
        lengths = [prompt + len(row["chosen_ids"]), prompt + len(row["rejected_ids"])]
    else:
        lengths = row.get("seq_lengths") or [len(row["input_ids"])]
    return sum(lengths), sum(n * (n + 1) / 2 for n in lengths)


def _columns(rows: Sequence[Row]) -> dict[str, list[list[int]]]:
    return {
        "input_ids": [row.chosen for row in rows],
        "assistant_mask": [[1] * len(row.chosen) for row in rows],
    }


def _pair_columns(rows: Sequence[Row]) -> dict[str, list[list[int]]]:
    return {
        "prompt_ids": [row.prompt for row in rows],
        "chosen_ids": [row.chosen for row in rows],
        "rejected_ids": [row.rejected for row in rows],
    }
