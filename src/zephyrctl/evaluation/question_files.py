"""How is a file of questions read, one JSON object a line?

What `eval rules` and a benchmark of one's own have in common; what else a question holds is theirs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from zephyrctl.errors import DataError, UsageError
from zephyrctl.evaluation.benchmark import Question, QuestionId

Asked = TypeVar("Asked", bound=Question)


def read_question_file(
    path: Path, parse: Callable[..., Asked], *, setting: str, hint: str
) -> list[Asked]:
    """The questions of a file in their order, each by `parse(line, where=…)`.

    Raises UsageError naming `setting` where the file cannot be read, DataError where it is empty
    or an id stands twice.
    """
    try:
        text = path.expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"the question file cannot be read: {error}", where=setting, hint=hint
        ) from None
    found: dict[QuestionId, Asked] = {}
    # Not splitlines(): JSON may hold U+2028 as it is, which is a line's end only to Python.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        question = parse(line, where=where)
        if question.question_id in found:
            raise DataError(f"question_id {question.question_id!r} stands twice", where=where)
        found[question.question_id] = question
    if not found:
        raise DataError("the question file is empty", where=str(path))
    return list(found.values())


def question_row(line: str, *, where: str) -> dict[str, Any]:
    """The JSON object of one line."""
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(f"no JSON: {error}", where=where) from None
    if not isinstance(row, dict):
        raise DataError("a question is a JSON object", where=where)
    return row


def id_and_turns(row: dict[str, Any], *, where: str) -> tuple[QuestionId, tuple[str, ...]]:
    """What every question has: its id, and one text or more."""
    question_id = row.get("question_id")
    if isinstance(question_id, bool) or not isinstance(question_id, int | str):
        raise DataError("a question needs a 'question_id', a number or a text", where=where)
    turns = row.get("turns")
    if not isinstance(turns, list) or not turns or not all(map(_is_text, turns)):
        raise DataError("'turns' is a list of texts, one a turn, none empty", where=where)
    return question_id, tuple(turns)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())
