"""What does a question file of one's own ask?

JSONL in MT-Bench's format: `question_id` (a number or a text), `turns` (one text or more), and if
wanted `category` and `reference` (one text a turn). Other fields are left alone, but one that is
nearly a known name is a mistake.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zephyrctl.errors import DataError
from zephyrctl.evaluation.benchmark import QuestionId
from zephyrctl.evaluation.question_files import (
    id_and_turns,
    question_row,
    read_question_file,
)
from zephyrctl.registry import nearest

NO_CATEGORY = "general"
_KNOWN = ("question_id", "category", "turns", "reference")


@dataclass(frozen=True)
class OwnQuestion:
    """One question; `references` has one text a turn, or is empty."""

    question_id: QuestionId
    category: str
    turns: tuple[str, ...]
    references: tuple[str, ...] = ()


def read_questions(path: Path) -> list[OwnQuestion]:
    """The questions of a file in their order.

    Raises UsageError where the file cannot be read, DataError with the line of the first question
    that is none.
    """
    return read_question_file(
        path,
        parse_question,
        setting="eval.own.questions",
        hint="--questions FILE, a JSONL file with question_id and turns",
    )


def parse_question(line: str, *, where: str) -> OwnQuestion:
    """One line of a question file; `where` is named in errors."""
    row = question_row(line, where=where)
    for key in row:
        meant = None if key in _KNOWN else nearest(key, _KNOWN)
        if meant is not None and meant not in row:
            raise DataError(f"unknown key '{key}'; did you mean '{meant}'?", where=where)
    question_id, turns = id_and_turns(row, where=where)
    category = row.get("category") or NO_CATEGORY
    if not isinstance(category, str):
        raise DataError("'category' is a text", where=where)
    references = _references(row.get("reference"), turns=len(turns), where=where)
    return OwnQuestion(question_id, category, turns, references)


def _references(given: Any, *, turns: int, where: str) -> tuple[str, ...]:
    if given is None or given == []:
        return ()
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise DataError("'reference' is a list of texts, one a turn", where=where)
    if len(texts) != turns:
        raise DataError(
            f"{len(texts)} reference{'s' if len(texts) > 1 else ''} for {turns} "
            f"turn{'s' if turns > 1 else ''}",
            where=where,
            hint='"" stands for a turn without one',
        )
    return tuple(texts)
