"""Which data sets does a file of alignment-handbook or TRL train and test on?"""

from collections.abc import Callable
from typing import Any

from zephyrctl.config.trainer_args import Stage

_STANDARD_COLUMNS = ({"messages"}, {"chosen", "rejected"}, {"prompt", "chosen", "rejected"})
_HELD_OUT = ("test", "eval", "valid")

_KEYS = {
    "dataset_mixer",
    "dataset_splits",
    "dataset_configs",
    "dataset_mixture",
    "dataset_name",
    "dataset_config",
    "dataset_train_split",
    "dataset_test_split",
    "dataset_split",
}


def read_sources(
    old: dict[str, Any], *, stage: Stage, put: Callable[[str, Any, str], None]
) -> tuple[set[str], list[str]]:
    """Put the sources of `old` below `data.<stage>`; the keys read and what to say about them.

    A split whose name says test, eval or valid is held out, also where the file would train on
    it.
    """
    notes: list[str] = []
    train: list[dict[str, Any]] = []
    test: list[dict[str, Any]] = []
    origin = next((key for key in _KEYS if key in old), "dataset_name")
    if isinstance(old.get("dataset_mixer"), dict):
        _from_mixer(old, train, test)
    if isinstance(old.get("dataset_mixture"), dict):
        notes += _from_mixture(old["dataset_mixture"], train, test)
    if isinstance(old.get("dataset_name"), str):
        _from_name(old, train, test)
    if train:
        put(f"data.{stage}.train", train, origin)
    else:
        notes.append(f"the file names no data set; set data.{stage}.train")
    if test:
        put(f"data.{stage}.test", test, origin)
    return {key for key in _KEYS if key in old}, notes


def _from_mixer(
    old: dict[str, Any], train: list[dict[str, Any]], test: list[dict[str, Any]]
) -> None:
    splits = old.get("dataset_splits") or ["train"]
    configs = old.get("dataset_configs") or []
    for index, (path, share) in enumerate(old["dataset_mixer"].items()):
        config = configs[index] if index < len(configs) else None
        for split in splits:
            source = _source(path, config=config, split=split)
            if _is_held_out(split):
                test.append(source)
            else:
                train.append(_weighted(source, share))


def _from_mixture(
    mixture: dict[str, Any], train: list[dict[str, Any]], test: list[dict[str, Any]]
) -> list[str]:
    notes = []
    for given in mixture.get("datasets") or []:
        split = given.get("split", "train")
        config = given.get("config")
        source = _source(
            given.get("id"), config=config if config != "default" else None, split=split
        )
        columns = set(given.get("columns") or [])
        if columns and columns not in _STANDARD_COLUMNS:
            notes.append(f"columns {sorted(columns)} of {given.get('id')}: set a source's format")
        for key in sorted(set(given) - {"id", "config", "split", "columns", "weight"}):
            notes.append(f"no counterpart: {key} of {given.get('id')}")
        if _is_held_out(split):
            test.append(source)
            notes.append(f"{split} of {given.get('id')} is held out; the file trains on it")
        else:
            train.append(_weighted(source, given.get("weight", 1.0)))
    size = mixture.get("test_split_size")
    if size is not None and test:
        notes.append(f"test_split_size {size} is not needed: the held-out split is used whole")
    elif size is not None:
        notes.append(f"no counterpart: test_split_size {size} rows; test_size is a share (0.05)")
    if "seed" in mixture:
        notes.append("the mixture's own seed: the recipe's seed draws the split")
    return notes


def _from_name(
    old: dict[str, Any], train: list[dict[str, Any]], test: list[dict[str, Any]]
) -> None:
    config = old.get("dataset_config")
    split = old.get("dataset_train_split") or old.get("dataset_split") or "train"
    train.append(_source(old["dataset_name"], config=config, split=split))
    if old.get("dataset_test_split"):
        test.append(_source(old["dataset_name"], config=config, split=old["dataset_test_split"]))


def _source(path: Any, *, config: str | None, split: str) -> dict[str, Any]:
    source = {"path": path, "split": split}
    return source | {"config": config} if config else source


def _weighted(source: dict[str, Any], share: Any) -> dict[str, Any]:
    return source if share in (1, 1.0) else source | {"weight": share}


def _is_held_out(split: str) -> bool:
    return any(word in split for word in _HELD_OUT)
