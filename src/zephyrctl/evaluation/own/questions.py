"""What does a question file of one's own ask?

JSONL in MT-Bench's format: `question_id` (a number or a text), `turns` (one text or more), and if
wanted `category` and `reference` (one text a turn). Other fields are left alone, but one that is
nearly a known name is a mistake.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zephyrctl.errors import DataError, UsageError
from zephyrctl.evaluation.benchmark import QuestionId
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
    try:
        text = path.expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"the question file cannot be read: {error}",
            where="eval.own.questions",
            hint="--questions FILE, a JSONL file with question_id and turns",
        ) from None
    found: dict[QuestionId, OwnQuestion] = {}
    # Not splitlines(): JSON may hold U+2028 as it is, which is a line's end only to Python.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        question = parse_question(line, where=where)
        if question.question_id in found:
            raise DataError(f"question_id {question.question_id!r} stands twice", where=where)
        found[question.question_id] = question
    if not found:
        raise DataError("the question file is empty", where=str(path))
    return list(found.values())


def parse_question(line: str, *, where: str) -> OwnQuestion:
    """One line of a question file; `where` is named in errors."""
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(f"no JSON: {error}", where=where) from None
    if not isinstance(row, dict):
        raise DataError("a question is a JSON object", where=where)
    for key in row:
        meant = None if key in _KNOWN else nearest(key, _KNOWN)
        if meant is not None and meant not in row:
            raise DataError(f"unknown key '{key}'; did you mean '{meant}'?", where=where)
    question_id = row.get("question_id")
    if isinstance(question_id, bool) or not isinstance(question_id, int | str):
        raise DataError("a question needs a 'question_id', a number or a text", where=where)
    turns = row.get("turns")
    if not isinstance(turns, list) or not turns or not all(map(_is_text, turns)):
        raise DataError("'turns' is a list of texts, one a turn, none empty", where=where)
    category = row.get("category") or NO_CATEGORY
    if not isinstance(category, str):
        raise DataError("'category' is a text", where=where)
    references = _references(row.get("reference"), turns=len(turns), where=where)
    return OwnQuestion(question_id, category, tuple(turns), references)


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


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())
