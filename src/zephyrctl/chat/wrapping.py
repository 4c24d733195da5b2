"""How do our own lines break on a narrow terminal?"""

from __future__ import annotations

import os
import re
import sys

from zephyrctl import terminal

_NARROWEST = 20
_DOT, _TIE = " · ", "\N{NO-BREAK SPACE}"


def say_wrapped(text: str, *, head: str = "") -> None:
    """Say `text` after `head`, broken between words where stderr is a terminal; further lines
    begin below the text's first word."""
    width = _width()
    if width is None or width - len(head) < _NARROWEST:
        terminal.say(head + text)
        return
    lines = wrapped(terminal.safe(text), width - len(head))
    terminal.say("\n".join([head + lines[0], *(" " * len(head) + line for line in lines[1:])]))


def wrapped(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width` cells, broken at spaces, its own line breaks kept.

    What stands between two ` · ` is kept together where it is short (`first 0.08 s`). A word
    without room in a line of its own is broken where the line is full: a path, or a sentence in a
    script that has no spaces.
    """
    lines: list[str] = []
    for line in text.split("\n"):
        parts = [
            part.replace(" ", _TIE) if len(part) <= width // 2 else part
            for part in line.split(_DOT)
        ]
        lines += _wrapped(_DOT.join(parts) if len(parts) > 1 else line, width)
    return [line.replace(_TIE, " ") for line in lines]


def _wrapped(line: str, width: int) -> list[str]:
    from rich.cells import cell_len, chop_cells

    lines, row, room = [], "", width
    for space, word in re.findall(r"([^\S\xa0]*)((?:\S|\xa0)+)", line):
        took = cell_len(space) + cell_len(word)
        if took > room and row:
            lines.append(row)
            row, room, took = "", width, cell_len(word)
            space = ""
        if took > room:
            *full, word = chop_cells(space + word, width)
            lines += full
            space, took = "", cell_len(word)
        row += space + word
        room -= took
    return [*lines, row] if row or not lines else lines


def _width() -> int | None:
    """Columns of the terminal behind stderr, None where there is none."""
    if not terminal.is_tty(sys.stderr):
        return None
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or None
    except (OSError, ValueError):
        return None
