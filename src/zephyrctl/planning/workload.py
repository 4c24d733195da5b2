"""How many rows and tokens will a stage train on?

From the run's own account where its data are prepared; else counted in local JSONL files, with
tokens estimated from characters; else from the published sizes of the Zephyr data sets.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Literal, cast

from zephyrctl.config.paths import is_local
from zephyrctl.config.schema import Recipe
from zephyrctl.config.schema.data import DialogueData, PreferenceData, Source
from zephyrctl.planning import lengths

CHARACTERS_PER_TOKEN = 4.0
_TEMPLATE_TOKENS = 14  # roles, end tokens and the empty system block of one exchange
_SAMPLED_ROWS = 500


@dataclass(frozen=True)
class Workload:
    """Rows of the training split and tokens per row: of a dialogue, or of a pair's two answers
    with the prompt before each. `source` says how it is known."""

    rows: int
    tokens_per_row: float
    source: str
    prompt_tokens: float = 0.0
    """Of a pair, tokens of its prompt; 0 where it is not known apart."""


_PUBLISHED: dict[tuple[str, str], Workload] = {
    ("huggingfaceh4/ultrachat_200k", "train_sft"): Workload(
        207_865, 1_375, "published: 207,865 rows; 1,090 steps of 128 x 2,048 tokens"
    ),
    ("huggingfaceh4/ultrafeedback_binarized", "train_prefs"): Workload(
        61_135, 920, "published: 61,135 pairs; lengths of the prompts 160, of the answers 300", 160
    ),
    ("argilla/ultrafeedback-binarized-preferences-cleaned", "train"): Workload(
        60_917, 920, "published: 60,917 pairs; lengths as of ultrafeedback_binarized", 160
    ),
    ("openbmb/ultrafeedback", "train"): Workload(
        63_967, 920, "published: 63,967 prompts; lengths as of ultrafeedback_binarized", 160
    ),
}


def of_stage(data: DialogueData | PreferenceData, *, max_length: int) -> Workload | None:
    """Rows and tokens of a stage's sources together; None where one of them is unknown."""
    parts = [_of_source(source, max_length=max_length) for source in data.train]
    if not parts or any(part is None for part in parts):
        return None
    known = cast("list[Workload]", parts)
    rows = sum(part.rows for part in known)
    tokens = sum(part.rows * part.tokens_per_row for part in known) / max(1, rows)
    held_out = 0.0 if data.test else data.test_size
    prompts = sum(part.rows * part.prompt_tokens for part in known) / max(1, rows)
    notes = "; ".join(dict.fromkeys(part.source for part in known))
    return Workload(max(1, round(rows * (1 - held_out))), tokens, notes, prompts)


@dataclass(frozen=True)
class Data:
    """What is known of a stage's training rows: their lengths where they are prepared."""

    workload: Workload | None
    rows: list[lengths.Row] | None = None


def known_data(recipe: Recipe, folder: Path) -> dict[Literal["sft", "dpo"], Data]:
    """What is known of both stages' data, prepared in the run's data `folder` or not."""
    return {stage: of_prepared(recipe, folder, stage) for stage in ("sft", "dpo")}


def of_prepared(recipe: Recipe, folder: Path, stage: Literal["sft", "dpo"]) -> Data:
    """One stage's data: counted where they are prepared, else by `of_account` and `of_stage`."""
    training = recipe.sft if stage == "sft" else recipe.dpo
    rows = lengths.read(folder, stage)
    if rows is not None:
        plain = lengths.costs_of(rows, lengths.Layout(padding_free=True))
        counted = Workload(len(rows), plain.real, "counted: the run's prepared data", plain.prompts)
        return Data(counted, rows)
    section = recipe.data.sft if stage == "sft" else recipe.data.dpo
    return Data(
        of_account(folder / "account.json", stage=stage)
        or of_stage(section, max_length=training.max_length)
    )


def of_account(account: Path, *, stage: Literal["sft", "dpo"]) -> Workload | None:
    """Rows and tokens of prepared data, from `data/account.json`; None where they are not there."""
    try:
        splits = json.loads(account.read_text(encoding="utf-8"))[stage]["splits"]["train"]
        rows, tokens = int(splits["rows"]), float(splits["tokens"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    # Of a pair the account counts the prompt with the longer answer, to which both are padded.
    answers = 2 if stage == "dpo" else 1
    return Workload(rows, answers * tokens / max(1, rows), "counted: the run's prepared data")


def _of_source(source: Source, *, max_length: int) -> Workload | None:
    if not is_local(source.path):
        published = _PUBLISHED.get((source.path.lower(), source.split))
        return _scaled(published, source) if published else None
    files = _jsonl_files(Path(source.path))
    if not files:
        return None
    rows = 0
    sampled: list[float] = []
    for line in _lines(files):
        rows += 1
        if len(sampled) < _SAMPLED_ROWS:
            sampled.append(min(max_length, _tokens(line)))
    if not sampled:
        return None
    mean = sum(sampled) / len(sampled)
    return _scaled(Workload(rows, mean, "estimated: rows and characters of local files"), source)


def _scaled(workload: Workload, source: Source) -> Workload:
    rows = min(workload.rows, source.limit or workload.rows)
    return replace(workload, rows=round(rows * source.weight))


_OPENERS: dict[str, Callable[..., IO[str]]] = {
    ".jsonl": cast("Callable[..., IO[str]]", open),
    ".gz": cast("Callable[..., IO[str]]", gzip.open),
    ".bz2": cast("Callable[..., IO[str]]", bz2.open),
    ".xz": cast("Callable[..., IO[str]]", lzma.open),
}


def _jsonl_files(path: Path) -> list[Path]:
    """The files of a source if all are JSONL that the standard library can open, else nothing."""
    found = sorted(path.iterdir()) if path.is_dir() else [path]
    files = [file for file in found if ".jsonl" in file.suffixes and file.suffix in _OPENERS]
    return [file for file in files if file.is_file()]


def _lines(files: Sequence[Path]) -> Iterator[str]:
    for file in files:
        with _OPENERS[file.suffix](file, "rt", encoding="utf-8", errors="replace") as stream:
            yield from (line for line in stream if line.strip())


def _tokens(line: str) -> float:
    """Tokens of a row, estimated; a broken row counts as empty."""
    try:
        row = json.loads(line)
    except ValueError:
        return _TEMPLATE_TOKENS
    if not isinstance(row, dict):
        return _TEMPLATE_TOKENS
    completions = row.get("completions")
    if isinstance(completions, list) and completions:  # rated: two of them become a pair
        mean = sum(_characters(c) for c in completions) / len(completions)
        return _estimate(2 * (_characters(row.get("instruction")) + mean), exchanges=2)
    if "chosen" in row and "rejected" in row:
        prompt = _characters(row.get("prompt"))
        both = [_characters(row[key]) for key in ("chosen", "rejected")]
        repeated = isinstance(row["chosen"], list)  # such a list holds the prompt already
        return _estimate(sum(both) + (0 if repeated else 2 * prompt), exchanges=2)
    for key in ("messages", "conversations", "data"):
        if isinstance(row.get(key), list):
            return _estimate(_characters(row[key]), exchanges=max(1, len(row[key]) // 2))
    texts = ("prompt", "completion", "instruction", "input", "output")
    return _estimate(sum(_characters(row.get(key)) for key in texts), exchanges=1)


def _estimate(characters: float, *, exchanges: int) -> float:
    return characters / CHARACTERS_PER_TOKEN + exchanges * _TEMPLATE_TOKENS


def _characters(value: Any) -> int:
    """Characters of a text, of a message, or of all messages in a list."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list):
        return sum(_characters(item) for item in value)
    if isinstance(value, dict):
        return sum(_characters(value.get(key)) for key in ("content", "value", "response"))
    return 0
