"""What is one row of a source, and which texts are rows at all?"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from zephyrctl.sizes import MIB, size_words

MAX_LINE_BYTES = 16 * MIB
"""A longer line is taken for damage: no conversation has it, and memory should not decide."""

MAX_DEPTH = 100
"""Lists and objects inside each other; a limit of our own, because Python's depends on who asks."""

TOO_LONG = f"the line is longer than {size_words(MAX_LINE_BYTES)}"
TOO_DEEP = "not JSON: nested too deeply"
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row and its place; `problem` says why there is no `value`."""

    place: str
    value: dict[str, Any] | None
    problem: str = ""


Parsed = tuple[int, dict[str, Any] | None, str]
"""Number, value and problem of a row that is parsed where it is read."""


class DuplicateKey(Exception):
    """A JSON object names a key twice; which value counts would be a guess."""


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these pairs; DuplicateKey with the first key that stands twice."""
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        raise DuplicateKey(next(key for key in keys if keys.count(key) > 1))
    return value


def parse_line(line: bytes, place: str) -> RawRow:
    """The row of one JSON line; what is wrong with it where it is none."""
    try:
        value = json.loads(line.decode("utf-8"), object_pairs_hook=unique)
    except UnicodeDecodeError as error:
        return RawRow(place, None, f"not UTF-8: byte {error.start + 1} of the line")
    except json.JSONDecodeError as error:
        return RawRow(f"{place}:{error.colno}", None, f"not JSON: {error.msg}")
    except (RecursionError, ValueError, DuplicateKey) as error:
        return RawRow(place, None, explain(error))
    problem = problem_of(value, line)
    return RawRow(place, None, problem) if problem else RawRow(place, value)


def explain(error: RecursionError | ValueError | DuplicateKey) -> str:
    """The words for JSON that is well formed and yet no row."""
    if isinstance(error, DuplicateKey):
        return f"the key '{error}' stands twice"
    if isinstance(error, RecursionError):
        return TOO_DEEP
    return "a number has more digits than can be read"  # Python's limit is 4300


def problem_of(value: Any, raw: bytes) -> str:
    """Why a value that was parsed from `raw` is no row; empty where it is one."""
    if not isinstance(value, dict):
        return "not a JSON object"
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        return TOO_DEEP
    if _SURROGATE.search(raw) and not _is_text(value):
        return "not Unicode: half of a surrogate pair"
    return ""


def _depth(value: Any) -> int:
    level, depth = [value], 0
    while level:
        depth += 1
        inner = [item.values() if isinstance(item, dict) else item for item in level]
        level = [item for items in inner for item in items if isinstance(item, dict | list)]
    return depth


def _is_text(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
