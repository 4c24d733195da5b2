"""How is a conversation kept in a file, and read from one?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from zephyrctl.chat.session import Session, check_text
from zephyrctl.data.messages import ROLES, Message, check_order
from zephyrctl.errors import DataError, UsageError
from zephyrctl.runs.atomic import create_text, dumps


def save(session: Session, path: Path) -> None:
    """Write the conversation as one JSONL row, ready as a source of SFT data; never over a file,
    and whole or not at all."""
    if not session.turns:
        raise UsageError("there is nothing to save yet")
    try:
        create_text(path, dumps(session.to_json()) + "\n")
    except OSError as error:
        if isinstance(error, FileExistsError) and (path.exists() or path.is_symlink()):
            raise UsageError(f"{path} exists", hint="name another file") from None
        raise UsageError(f"cannot write {path}: {error.strerror}") from None


def load(path: Path) -> Session:
    """The conversation of a file that `save` wrote, or of any row with `messages`: the last row.

    A conversation with tools is refused: the rest of a chat does not know how to go on with one.
    """
    try:
        if path.is_dir():
            raise UsageError(f"{path} is a folder", hint="/load FILE")
        if not path.is_file():
            raise UsageError(f"there is no file {path}")
        # Not splitlines, which also splits at U+2028 and U+0085: JSON lets them stand in a text.
        lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except ValueError:
        raise UsageError(f"cannot read {path}: it is not UTF-8 text") from None
    try:
        messages = [_message(row) for row in json.loads(lines[-1])["messages"]]
        check_order(messages)
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise DataError(
            "no conversation in the last row of the file",
            where=str(path),
            hint='a row is {"messages": [{"role": "user", "content": "…"}, …]}, as /save writes it',
        ) from error
    except (DataError, UsageError) as error:
        raise DataError(error.message, where=str(path)) from None
    if messages[0].role == "system":
        return Session(messages[0].content, messages[1:])
    return Session(None, messages)


def _message(row: Mapping[str, object]) -> Message:
    role, content = row["role"], row["content"]
    if row.get("tool_calls") or role == "tool":
        raise DataError("the conversation has tools, which a chat here has not")
    if not isinstance(role, str) or not isinstance(content, str):
        raise DataError("a message whose role or content is not text")
    if role not in ROLES:
        raise DataError(f"unknown role '{role[:40]}': system, user or assistant")
    check_text(content)
    return Message(role, content)
