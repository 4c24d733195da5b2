"""Where does a line break between words, and how wide is the terminal it stands on?"""

from __future__ import annotations

import os
import re
from typing import IO

_DOT, _TIE = " · ", "\N{NO-BREAK SPACE}"


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


def columns_of(stream: IO[str] | None) -> int | None:
    """Columns of the terminal behind `stream`, None where there is none."""
    try:
        if stream is None or not stream.isatty():
            return None
        return os.get_terminal_size(stream.fileno()).columns or None
    except (OSError, ValueError):
        return None
