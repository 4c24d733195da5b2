"""How do FastChat's MT-Bench files read and write?

Formats of lm-sys/FastChat 0e6d3e4, fastchat/llm_judge: `question.jsonl`, `judge_prompts.jsonl`,
`reference_answer/<name>.jsonl`, `model_answer/<model>.jsonl`, `model_judgment/*.jsonl`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zephyrctl.errors import DataError

# Reference answers by the name that the configuration gives them.
REFERENCE_FILES = {"original": "gpt-4.jsonl", "corrected": "gpt-4-0125-preview.jsonl"}


@dataclass(frozen=True)
class Question:
    """One question of a benchmark, with its turns."""

    question_id: int | str
    category: str
    turns: tuple[str, ...]


@dataclass(frozen=True)
class JudgePrompt:
    """The instruction and the template that a judge is given."""

    name: str
    system_prompt: str
    prompt_template: str


@dataclass(frozen=True)
class MtBenchFiles:
    """Everything MT-Bench needs beside the answers."""

    questions: tuple[Question, ...]
    prompts: dict[str, JudgePrompt]
    references: dict[int | str, tuple[str, ...]]
    digest: str


def read_mt_bench(folder: str | Path, *, references: str) -> MtBenchFiles:
    """The questions, judge prompts and reference answers in a folder.

    `references` is `original` or `corrected`. Raises DataError where a file is absent or broken.
    """
    folder = Path(folder)
    paths = (
        folder / "question.jsonl",
        folder / "judge_prompts.jsonl",
        folder / "reference_answer" / REFERENCE_FILES[references],
    )
    for path in paths:
        if not path.is_file():
            raise DataError(
                f"MT-Bench's file {path.name} is absent",
                where=str(path),
                hint="zephyrctl eval fetch mt-bench",
            )
    return MtBenchFiles(
        questions=tuple(read_questions(paths[0])),
        prompts=read_judge_prompts(paths[1]),
        references=read_answers(paths[2]),
        digest=hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest(),
    )


def read_questions(path: Path) -> list[Question]:
    """The questions of a file in MT-Bench's format, in their order."""
    questions = []
    for where, row in _rows(path):
        turns = row.get("turns")
        if not isinstance(turns, list) or not turns or not all(isinstance(t, str) for t in turns):
            raise DataError("a question needs 'turns', a list of texts", where=where)
        questions.append(
            Question(_field(row, "question_id", where), row.get("category", ""), tuple(turns))
        )
    return questions


def read_judge_prompts(path: Path) -> dict[str, JudgePrompt]:
    """The judge prompts of a file, by name."""
    prompts = {}
    for where, row in _rows(path):
        name = _field(row, "name", where)
        prompts[name] = JudgePrompt(
            name, _field(row, "system_prompt", where), _field(row, "prompt_template", where)
        )
    return prompts


def read_answers(path: Path) -> dict[int | str, tuple[str, ...]]:
    """The turns of the first choice of each answer, by question; the last row of a question
    counts."""
    answers = {}
    for where, row in _rows(path):
        try:
            turns = tuple(str(turn) for turn in row["choices"][0]["turns"])
        except (KeyError, IndexError, TypeError):
            raise DataError("an answer needs choices[0].turns", where=where) from None
        answers[_field(row, "question_id", where)] = turns
    return answers


def read_judgments(path: Path) -> list[dict[str, Any]]:
    """The rows of a judgment file, single or pairwise, as they stand."""
    return [row for _, row in _rows(path)]


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path.name}: {error}", where=str(path)) from None
    # Not splitlines(): JSON may hold U+2028 as it is, which is a line's end only to Python.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"not a line of JSON: {error}", where=where) from None
        if not isinstance(row, dict):
            raise DataError("a line must hold one JSON object", where=where)
        yield where, row


def _field(row: dict[str, Any], name: str, where: str) -> Any:
    if name not in row:
        raise DataError(f"'{name}' is missing", where=where)
    return row[name]
