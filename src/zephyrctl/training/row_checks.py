"""Can this model train on these prepared rows?

The token ids were written by an earlier stage, perhaps by another version or by hand. Looked at on
whole columns, before any weight is moved to a device.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.compute
from datasets import Dataset

from zephyrctl.config.schema import Recipe
from zephyrctl.data.load import Stage, load_split, split_file
from zephyrctl.errors import DataError, quoted
from zephyrctl.runs.metrics import Reporter
from zephyrctl.runs.store import Run
from zephyrctl.training.rows import lengths_of, token_column

# pyarrow makes its compute functions at run time, where no type checker sees them.
pc: Any = pyarrow.compute

COLUMNS: dict[Stage, tuple[str, ...]] = {
    "sft": ("input_ids",),
    "dpo": ("prompt_ids", "chosen_ids", "rejected_ids"),
}
MANY_ALIKE = 0.05
"""Share of pairs of equal answers from which the notice is a warning."""


def check(recipe: Recipe, run: Run, stage: Stage, *, vocabulary: int, reporter: Reporter) -> None:
    """DataError for rows with ids that have no embedding, without tokens, or that teach nothing.

    `vocabulary` is the number of embeddings. What teaches nothing in some rows is said.
    """
    for split in ("train", "test"):
        rows = load_split(run, stage, split)
        place = split_file(run, stage, split)
        if len(rows):
            _check_ids(rows, COLUMNS[stage], vocabulary=vocabulary, place=place, hint=_again(run))
    train, place = load_split(run, stage, "train"), split_file(run, stage, "train")
    if not len(train):
        return  # refused where the splits are put together
    if stage == "dpo":
        _check_pairs(train, place=place, say=reporter.notice, hint=_again(run))
    elif recipe.sft.loss_on == "assistant":
        _check_masks(train, place=place, say=reporter.notice, hint=_again(run))


def _check_ids(
    rows: Dataset, columns: tuple[str, ...], *, vocabulary: int, place: Path, hint: str
) -> None:
    for name in columns:
        lengths = lengths_of(rows, name)
        if empty := sum(length == 0 for length in lengths):
            raise DataError(
                f"{name} is empty in {empty} of {len(rows)} rows (row {lengths.index(0)})",
                where=str(place),
                hint=hint,
            )
        found = pc.min_max(token_column(rows, name).flatten()).as_py()
        if found["min"] < 0 or found["max"] >= vocabulary:
            wrong = found["max"] if found["max"] >= vocabulary else found["min"]
            raise DataError(
                f"{name} holds the token id {wrong}, the model has embeddings for 0 to "
                f"{vocabulary - 1}: the rows were prepared with another tokenizer",
                where=str(place),
                hint=hint,
            )


def _check_pairs(rows: Dataset, *, place: Path, say: Callable[..., None], hint: str) -> None:
    alike = _alike(rows)
    if alike == len(rows):
        raise DataError(
            f"chosen and rejected are the same in all {len(rows)} pairs: there is no preference",
            where=str(place),
            hint=hint,
        )
    if alike:
        say(
            f"{alike} of {len(rows)} pairs teach nothing: chosen and rejected are the same",
            level="warning" if alike > MANY_ALIKE * len(rows) else "info",
        )


def _alike(rows: Dataset) -> int:
    """Pairs whose answers are the same tokens."""
    lengths = [lengths_of(rows, name) for name in ("chosen_ids", "rejected_ids")]
    same = [i for i, (a, b) in enumerate(zip(*lengths, strict=True)) if a == b]
    if not same:
        return 0
    near = rows.select(same)
    chosen, rejected = (token_column(near, name) for name in ("chosen_ids", "rejected_ids"))
    differs = pc.not_equal(chosen.flatten(), rejected.flatten())
    owner = pc.list_parent_indices(chosen)
    return len(same) - len(pc.unique(owner.filter(differs)))


def _check_masks(rows: Dataset, *, place: Path, say: Callable[..., None], hint: str) -> None:
    masks = token_column(rows, "assistant_mask")
    trained = pc.unique(pc.list_parent_indices(masks).filter(pc.equal(masks.flatten(), 1)))
    untrained = len(rows) - len(trained)
    if untrained == len(rows):
        raise DataError(
            f"no token of the assistant is in any of the {len(rows)} rows",
            where=str(place),
            hint=hint,
        )
    if untrained:
        say(f"{untrained} of {len(rows)} rows hold no token of the assistant", level="warning")


def _again(run: Run) -> str:
    return f"zephyrctl data prepare -c {quoted(run.root / 'config.yaml')} --force"
