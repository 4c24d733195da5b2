"""How do finished rows go up into the scrollback while the rows below them still change?

The live rows stand above the cursor, which waits at the start of the line below them. Each frame is
one write: up to the first live row, clear to the end of the screen, the rows that are finished now,
the live ones. The cursor is never hidden and no mode outlasts a frame, so that a process killed at
any moment leaves a usable terminal.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from rich.console import Console
from rich.text import Text

_UP = "\x1b[{}A"
_CLEAR_BELOW = "\x1b[J"
# A live row that the terminal finds wider than we do (emoji, ambiguous widths) is cut off, not
# wrapped: one row more than counted would be left behind.
_WRAP_OFF, _WRAP_ON = "\x1b[?7l", "\x1b[?7h"
# Synchronized output: terminals that know it show the frame at once, others ignore it.
_HOLD, _SHOW = "\x1b[?2026h", "\x1b[?2026l"


@dataclass
class Screen:
    """The end of a terminal's output; `size` and `write` are the terminal's."""

    console: Console
    size: Callable[[], os.terminal_size]
    write: Callable[[str], None]
    reflows: bool = True
    """Whether the terminal wraps the lines on it anew when it becomes narrower."""
    _live: list[int] = field(default_factory=list)
    """Widths of the live rows on the screen, in cells."""

    def show(self, done: list[Text], live: list[Text]) -> None:
        """Replace the live rows by `done`, which stay, and by as many of `live` as fit below."""
        columns, lines = self.size()
        # Half of the screen: the rows still fit when it becomes half as wide, and what has gone
        # up out of the screen cannot be taken back.
        live = live[-max(lines // 2, 1) :]
        erase = self._erase(columns)
        kept = "".join(f"{row}\n" for row in self._encoded(done))
        tail = "".join(f"{row}\n" for row in self._encoded(live))
        self._live = [row.cell_len for row in live]
        if live or erase:
            tail = f"{_WRAP_OFF}{tail}{_WRAP_ON}" if live else ""
            self.write(f"{_HOLD}{erase}{kept}{tail}{_SHOW}")
        elif kept:
            self.write(kept)

    def forget(self) -> None:
        """Leave the live rows where they are: others have written below them."""
        self._live = []

    def _erase(self, columns: int) -> str:
        if not self._live:
            return ""
        rows = len(self._live)
        if self.reflows:
            rows = sum(max(1, -(-width // max(columns, 1))) for width in self._live)
        return f"\r{_UP.format(rows)}{_CLEAR_BELOW}"

    def _encoded(self, rows: list[Text]) -> list[str]:
        if not rows:
            return []
        with self.console.capture() as capture:
            self.console.print(Text("\n").join(rows), soft_wrap=True)
        return capture.get().removesuffix("\n").split("\n")


def reflows(environment: Mapping[str, str]) -> bool:
    """Whether the terminal wraps anew: most do; xterm, the console and screen do not."""
    if environment.get("TMUX"):
        return True
    term = environment.get("TERM", "")
    return not ("XTERM_VERSION" in environment or "STY" in environment or term == "linux")
