"""What becomes of what is typed while nobody reads it?"""

from __future__ import annotations

import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def quiet_keyboard() -> Iterator[None]:
    """What is typed meanwhile waits for the next question, and is not echoed into what is shown."""
    try:
        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor)
    except (AttributeError, OSError, ValueError, termios.error):
        yield  # no terminal, or stdin was closed
        return
    quiet = [*before]
    quiet[3] &= ~termios.ECHO
    try:
        with suppress(termios.error):  # a terminal that was closed meanwhile
            termios.tcsetattr(descriptor, termios.TCSANOW, quiet)
        yield
    finally:
        with suppress(termios.error):
            termios.tcsetattr(descriptor, termios.TCSANOW, before)
