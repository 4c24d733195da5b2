"""How do our own lines break on a narrow terminal?"""

from __future__ import annotations

import os
import sys
import textwrap

from zephyrctl import terminal

_NARROWEST = 20


def say_wrapped(text: str, *, head: str = "") -> None:
    """Say `text` after `head`, broken between words where stderr is a terminal; further lines
    begin below the text's first word."""
    width = _width()
    if width is None or width - len(head) < _NARROWEST:
        terminal.say(head + text)
        return
    indent = " " * len(head)
    lines = textwrap.wrap(
        terminal.safe(text),
        width,
        initial_indent=head,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )
    terminal.say("\n".join(lines) or head)


def _width() -> int | None:
    """Columns of the terminal behind stderr, None where there is none."""
    if not terminal.is_tty(sys.stderr):
        return None
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or None
    except (OSError, ValueError):
        return None
