"""How does a chat say something on a narrow terminal?"""

from __future__ import annotations

import sys

from zephyrctl import terminal
from zephyrctl.wrapping import columns_of, wrapped

_NARROWEST = 20


def say_wrapped(text: str, *, head: str = "") -> None:
    """Say `text` after `head`, broken between words where stderr is a terminal; further lines
    begin below the text's first word."""
    width = columns_of(sys.stderr)
    if width is None or width - len(head) < _NARROWEST:
        terminal.say(head + text)
        return
    lines = wrapped(terminal.safe(text), width - len(head))
    terminal.say("\n".join([head + lines[0], *(" " * len(head) + line for line in lines[1:])]))
