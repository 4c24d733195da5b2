"""How do AlpacaEval's files read?

Formats of tatsu-lab/alpaca_eval cd543a1 and of its data set on the Hub (revision 2edc6fa): outputs
(`alpaca_eval_gpt4_baseline.json`, `model_outputs.json`), annotator prompts, `df_gamed.csv`. Stored
annotations are in `annotations.py`.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from zephyrctl.errors import DataError

Version = Literal[1, 2]

ALL_INSTRUCTIONS = 805
BASELINE_FILES: dict[Version, str] = {
    1: "alpaca_eval.json",
    2: "alpaca_eval_gpt4_baseline.json",
}
"""Instructions with the baseline's outputs: text_davinci_003's for version 1."""
PROMPT_FILES: dict[Version, str] = {
    1: "prompts/alpaca_eval_gpt4__alpaca_eval.txt",
    2: "prompts/alpaca_eval_clf_gpt4_turbo__alpaca_eval_clf.txt",
}
GAMED_FILE = "df_gamed.csv"

_MESSAGE = re.compile(r"<\|im_start\|>(\w+)\n(.*?)<\|im_end\|>", re.DOTALL)


@dataclass(frozen=True)
class Instruction:
    """One instruction; `question_id` is its place in the data set, from 0, `category` the data
    set that it was taken from."""

    question_id: int
    category: str
    turns: tuple[str, ...]
    baseline: str
    """The baseline's output."""


@dataclass(frozen=True)
class Prompt:
    """An annotator's prompt, with places for `instruction`, `output_1` and `output_2`."""

    system: str
    user: str


@dataclass(frozen=True)
class Gamed:
    """The baseline gamed against itself, verbose and concise: 2 rows an instruction.

    `length_gap` is standardised; `win` is the probability that the gamed output wins.
    `difficulty_of` has the difficulty of each instruction by its place in the data set.
    """

    length_gap: tuple[float, ...]
    difficulty: tuple[float, ...]
    win: tuple[float, ...]
    difficulty_of: tuple[float, ...]


@dataclass(frozen=True)
class AlpacaEvalFiles:
    """Everything AlpacaEval needs beside the answers; `gamed` is None for version 1."""

    instructions: tuple[Instruction, ...]
    baseline_name: str
    prompt: Prompt
    gamed: Gamed | None
    digest: str


def read_alpaca_eval(folder: Path, *, version: Version) -> AlpacaEvalFiles:
    """The files in a folder; DataError where one is absent or broken.

    Version 1 does without `df_gamed.csv`, whose difficulties are those of version 2's judge.
    """
    outputs, prompt = folder / BASELINE_FILES[version], folder / PROMPT_FILES[version]
    gamed = folder / GAMED_FILE
    needed = [outputs, prompt, gamed] if version == 2 else [outputs, prompt]
    for path in needed:
        if not path.is_file():
            raise DataError(
                f"AlpacaEval's file {path.name} is absent",
                where=str(path),
                hint="zephyrctl eval fetch alpaca-eval",
            )
    instructions, name = read_baseline(outputs)
    return AlpacaEvalFiles(
        instructions=instructions,
        baseline_name=name,
        prompt=read_prompt(prompt),
        gamed=read_gamed(gamed) if version == 2 else None,
        digest=hashlib.sha256(b"".join(path.read_bytes() for path in needed)).hexdigest(),
    )


def read_baseline(path: Path) -> tuple[tuple[Instruction, ...], str]:
    """The instructions with the baseline's outputs, and the baseline's name."""
    rows = read_rows(path)
    found, names = [], set()
    for place, row in enumerate(rows):
        where = f"{path}, entry {place}"
        instruction, output = text_of(row, "instruction", where), text_of(row, "output", where)
        names.add(str(row.get("generator", "baseline")))
        category = str(row.get("dataset", ""))
        found.append(Instruction(place, category, (instruction,), output))
    if not found:
        raise DataError("no instruction", where=str(path))
    if len(names) > 1:
        raise DataError(f"outputs of several models: {', '.join(sorted(names))}", where=str(path))
    return tuple(found), names.pop()


def read_prompt(path: Path) -> Prompt:
    """An annotator's prompt file: one system and one user message in ChatML."""
    found = [(role, text.strip()) for role, text in _MESSAGE.findall(_text(path))]
    if [role for role, _ in found] != ["system", "user"]:
        raise DataError("a prompt needs one system and one user message", where=str(path))
    return Prompt(found[0][1], found[1][1])


def read_gamed(path: Path) -> Gamed:
    """`df_gamed.csv`: the gamed baselines' rows and each instruction's difficulty."""
    rows = list(csv.DictReader(_text(path).splitlines()))
    try:
        places = [int(row["index"]) for row in rows]
        difficulty = [float(row["instruction_difficulty"]) for row in rows]
        gamed = Gamed(
            length_gap=tuple(float(row["std_delta_len"]) for row in rows),
            difficulty=tuple(difficulty),
            win=tuple(float(row["preference"]) for row in rows),
            difficulty_of=_by_place(places, difficulty),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"not a file of gamed baselines: {error!r}", where=str(path)) from None
    return gamed


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The objects of a file that is one JSON list, or one JSON object a line."""
    text = _text(path)
    try:
        if text.lstrip().startswith("["):
            rows = json.loads(text)
        else:
            # Not splitlines(): JSON may hold U+2028 as it is, a line's end only to Python.
            rows = [json.loads(line) for line in text.split("\n") if line.strip()]
    except ValueError as error:
        raise DataError(f"not JSON: {error}", where=str(path)) from None
    for place, row in enumerate(rows):
        if not isinstance(row, dict):
            raise DataError("not a JSON object", where=f"{path}, entry {place}")
    return rows


def text_of(row: dict[str, Any], name: str, where: str) -> str:
    """A field that must be a text."""
    value = row.get(name)
    if not isinstance(value, str):
        raise DataError(f"'{name}' is missing or no text", where=where)
    return value


def _by_place(places: list[int], difficulty: list[float]) -> tuple[float, ...]:
    first: dict[int, float] = {}
    for place, value in zip(places, difficulty, strict=True):
        first.setdefault(place, value)
    if sorted(first) != list(range(len(first))):
        raise ValueError("'index' does not count the instructions from 0")
    return tuple(first[place] for place in range(len(first)))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path.name}: {error}", where=str(path)) from None
