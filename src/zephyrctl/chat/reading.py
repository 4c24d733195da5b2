"""How does a question come in from the keyboard?"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import IO, TYPE_CHECKING

from zephyrctl import terminal

if TYPE_CHECKING:
    from zephyrctl.chat.history import TypedBefore

Read = Callable[[str], str]
"""Shows a sign and returns what is typed; EOFError at the end, KeyboardInterrupt on Ctrl-C."""

_FENCE = '"""'


def is_open(text: str) -> bool:
    """Whether a text begins with three quotation marks and does not end with them yet."""
    begun = text.lstrip()
    if not begun.startswith(_FENCE):
        return False
    return not begun.removeprefix(_FENCE).rstrip().endswith(_FENCE)


def unfenced(text: str) -> str:
    """The text between the quotation marks that `is_open` waits for; any other as it is."""
    begun = text.strip()
    if not begun.startswith(_FENCE):
        return text
    return begun.removeprefix(_FENCE).removesuffix(_FENCE).strip("\n")


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
    except (EOFError, KeyboardInterrupt):
        terminal.say()  # the sign's line has no end yet
        raise


def spelt(sign: str, stream: IO[str]) -> str:
    """The sign of a prompt in what the stream can encode."""
    fancy = terminal.speaks_unicode(stream)
    return sign if fancy else sign.replace("›", ">").replace("…", ".")
