"""A small terminal: enough of one to see what a drawing leaves on its screen and above it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

from rich.cells import cell_len, set_cell_size

_SEQUENCE = re.compile(r"\x1b\[(\??)([\d;]*)([A-Za-z])|\r|\n")


@dataclass
class Terminal:
    """Knows new lines, cursor up from a line's start, clearing below, and wrapping (`?7`).

    With `reflows` it wraps its lines anew when it is resized. Any other sequence but colours and
    synchronized output fails the test.
    """

    width: int = 80
    height: int = 24
    reflows: bool = True
    lines: list[str] = field(default_factory=lambda: [""])
    frames: int = 0
    _wraps: bool = True

    def size(self) -> os.terminal_size:
        return os.terminal_size((self.width, self.height))

    def resize(self, width: int, height: int) -> None:
        if not self.reflows:
            self.lines = [set_cell_size(line, min(cell_len(line), width)) for line in self.lines]
        self.width, self.height = width, height

    def write(self, text: str) -> None:
        self.frames += 1
        position = 0
        for match in _SEQUENCE.finditer(text):
            self._print(text[position : match.start()])
            position = match.end()
            if match[0] == "\n":
                self.lines.append("")
            elif match[0] != "\r":
                self._control(match[1], match[2], match[3])
        self._print(text[position:])
        assert self._wraps, "wrapping was left off"

    def _print(self, text: str) -> None:
        assert text.isprintable() or "\u200d" in text, repr(text)
        line = self.lines[-1] + text
        if not self._wraps and cell_len(line) > self.width:
            line = set_cell_size(line, self.width)
        self.lines[-1] = line

    def _control(self, private: str, number: str, letter: str) -> None:
        if letter == "A":
            self._up(int(number))
        elif letter == "J":
            pass  # `_up` has dropped what stood below
        elif private and number == "7":
            self._wraps = letter == "h"
        else:
            assert letter == "m" or (private and number == "2026"), (private, number, letter)

    def _up(self, rows: int) -> None:
        """Go up from the start of the last line; what is below there is about to be cleared."""
        assert self.lines.pop() == ""
        rows = min(rows, self.height - 1)
        while rows > 0:
            rows -= self.rows_of(self.lines.pop())
        assert rows == 0, "the cursor is in the middle of a line"
        self.lines.append("")

    def rows_of(self, line: str) -> int:
        return max(1, -(-cell_len(line) // self.width))

    @property
    def text(self) -> str:
        return "\n".join(self.lines)
