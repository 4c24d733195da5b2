"""How does a chat end when it is told to by a signal?"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from zephyrctl.chat import ending
from zephyrctl.errors import Terminated


@contextmanager
def ended_by_signals(*, quietly: bool) -> Iterator[None]:
    """Leave by way of every `finally` on SIGTERM and SIGHUP, so that the terminal is as before.

    `quietly` by SystemExit, which no library swallows and for which nothing is printed on a
    terminal that may be gone; else by an error that is told, under --json as one object.
    """
    numbers = [number for number in (signal.SIGTERM, signal.SIGHUP) if _is_default(number)]

    def handler(number: int, frame: FrameType | None) -> None:
        del frame
        for each in numbers:  # a second one must not disturb the leaving
            signal.signal(each, signal.SIG_IGN)
        if quietly:
            ending.end()
            return
        raise Terminated(f"stopped by {signal.Signals(number).name}")

    for number in numbers:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def _is_default(number: int) -> bool:
    """Whether nobody else has a wish about a signal: nohup lets SIGHUP be ignored."""
    return signal.getsignal(number) is signal.SIG_DFL
