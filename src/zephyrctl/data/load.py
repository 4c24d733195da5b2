"""How do training and evaluation read what data preparation wrote?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from zephyrctl.data.messages import Message, from_json
from zephyrctl.errors import DataError, quoted

if TYPE_CHECKING:
    from datasets import Dataset

    from zephyrctl.runs.store import Run

Stage = Literal["sft", "dpo"]
Split = Literal["train", "test"]


def split_file(run: Run, stage: Stage, split: Split, suffix: str = "parquet") -> Path:
    """The file of one split: `parquet` holds token ids, `jsonl` the text."""
    path = run.stage("data").path / stage / f"{split}.{suffix}"
    if not path.is_file():
        raise DataError(
            f"the {stage} data of this run is not prepared",
            where=str(path),
            hint=f"zephyrctl run -c {quoted(run.root / 'config.yaml')} --until data",
        )
    return path


def load_split(run: Run, stage: Stage, split: Split) -> Dataset:
    """Token ids of one split, memory-mapped; every rank reads the same rows in the same order.

    Columns: `input_ids`, `assistant_mask` (sft) or `prompt_ids`, `chosen_ids`, `rejected_ids`
    (dpo), and `id`.
    """
    from datasets import Dataset
    from datasets.table import InMemoryTable
    from datasets.utils.logging import disable_progress_bar
    from pyarrow.parquet import ParquetFile

    disable_progress_bar()
    path = split_file(run, stage, split)
    table = ParquetFile(path)
    if not table.metadata.num_rows:  # `from_parquet` has no word for an empty file
        return Dataset(InMemoryTable(table.read()))
    # A cache inside the run: ranks share it, and it goes when the data is prepared anew.
    data = Dataset.from_parquet(str(path), cache_dir=str(path.parent.parent / "cache"))
    assert isinstance(data, Dataset)
    return data


def sample_prompts(run: Run, stage: Stage, n: int) -> list[list[Message]]:
    """The first `n` held-out prompts of `stage`, each up to its last user turn."""
    prompts: list[list[Message]] = []
    with split_file(run, stage, "test", "jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            if len(prompts) >= n:
                break
            row = json.loads(line)
            messages = row["prompt"] if stage == "dpo" else row["messages"][:-1]
            prompts.append(list(from_json(messages)))
    return prompts
