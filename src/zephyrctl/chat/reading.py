"""How does a question come in from the keyboard?"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from zephyrctl import terminal
from zephyrctl.chat.lines import Read, spelt
from zephyrctl.errors import UsageError

if TYPE_CHECKING:
    from zephyrctl.chat.history import TypedBefore


def open_reader(*, history: TypedBefore | None, references: Callable[[], list[str]]) -> Read:
    """The editor of prompt_toolkit where a person sits at a terminal, plain lines elsewhere."""
    for problem in history.problems if history is not None else ():
        terminal.say(f"! {problem}")
    is_terminal = terminal.is_tty(sys.stdin) and terminal.is_tty(sys.stdout)
    if is_terminal and os.environ.get("TERM", "dumb") != "dumb":
        from zephyrctl.chat.line_editor import edited  # 0.2 s that only a person should wait for

        return edited(history, references)
    return _plain


def _plain(sign: str) -> str:
    """A line of stdin; the sign goes to stderr, since stdout may be a file of replies."""
    terminal.say(spelt(sign, sys.stderr), end="")
    try:
        return input()
    except UnicodeDecodeError:
        raise UsageError("what was typed is not UTF-8 text: nothing is asked") from None
    except (EOFError, KeyboardInterrupt):
        terminal.say()  # the sign's line has no end yet
        raise
