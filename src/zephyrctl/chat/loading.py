"""What does a person see until a model can be talked with, and what becomes of what is typed?

A line on stderr says what is done. It stands before torch is imported, which takes seconds; so this
module imports nothing heavy itself.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from zephyrctl import terminal
from zephyrctl.chat.keyboard import quiet_keyboard

_FRAME_S = 0.1
_SIGNS = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_PLAIN_SIGNS = "|/-\\"


@dataclass
class _Line:
    """What is loaded, and what is being done for it; nothing is shown while `hidden`."""

    label: str
    doing: str = ""
    hidden: bool = False
    tells: bool = True
    """Whether what is done is shown: the size of a model may tell which it is."""

    def __str__(self) -> str:
        if self.hidden:
            return ""
        return f"{self.label}: {self.doing} …" if self.doing else f"{self.label} …"


@dataclass
class _Spinner:
    """Draws the innermost of the lines that are open, again and again."""

    lines: list[_Line] = field(default_factory=list)
    _frame: int = 0

    def draw(self) -> None:
        signs = _SIGNS if terminal.speaks_unicode(sys.stderr) else _PLAIN_SIGNS
        self._frame += 1
        text = str(self.lines[-1]) if self.lines else ""
        terminal.passing(f"{signs[self._frame % len(signs)]} {text}" if text else "")

    @contextmanager
    def turning(self) -> Iterator[None]:
        """Draw from now on, in a thread of its own: what is loaded gives no time for it."""
        ended = threading.Event()

        def turn() -> None:
            while not ended.wait(_FRAME_S):
                self.draw()

        thread = threading.Thread(target=turn, daemon=True)
        try:
            thread.start()
            yield
        finally:
            ended.set()
            if thread.ident is not None:
                thread.join()
            terminal.passing("")


_spinner = _Spinner()


@contextmanager
def starting() -> Iterator[None]:
    """A sign of life while it is found out what is to be loaded."""
    with _shown(_Line("starting")):
        yield


@contextmanager
def loading(label: str, *, tells: bool = True) -> Iterator[None]:
    """A sign of life on stderr while a model is loaded, with what is done where it `tells`. What is
    typed meanwhile waits for the prompt."""
    line = _Line(f"loading {terminal.safe(label)}", tells=tells)
    if not terminal.can_redraw(sys.stderr):
        terminal.say(str(line))
    with quiet_keyboard(), _shown(line):
        yield


def doing(what: str) -> None:
    """Say what is now done for the model that is loaded; nothing where none is."""
    if _spinner.lines and _spinner.lines[-1].tells:
        _spinner.lines[-1].doing = what


@contextmanager
def hidden() -> Iterator[None]:
    """No sign of life for a while: others show what they do, such as the Hub its downloads."""
    lines = _spinner.lines[-1:]
    for line in lines:
        line.hidden = True
    terminal.passing("")
    try:
        yield
    finally:
        for line in lines:
            line.hidden = False


@contextmanager
def _shown(line: _Line) -> Iterator[None]:
    if not terminal.can_redraw(sys.stderr):
        yield
        return
    is_first = not _spinner.lines
    _spinner.lines.append(line)
    try:
        _spinner.draw()
        if is_first:
            with _spinner.turning():
                yield
        else:
            yield
    finally:
        _spinner.lines.remove(line)
