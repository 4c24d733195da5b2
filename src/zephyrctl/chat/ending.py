"""When may a request to end break into a chat?

The handler of a signal runs between any two steps of the program. An exception that it raises in
the midst of the line editor's event loop, or while that changes the terminal's modes, leaves them
changed or is lost in a finalizer. So the editor puts the request off, and leaves by its own way.
Ctrl-C, which ends no chat, is put off where two steps belong together.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from zephyrctl.errors import Terminated


@dataclass
class _State:
    wake: Callable[[], None] | None = None
    is_asked: bool = False


_state = _State()


def end() -> None:
    """Called by the handler: raise SystemExit now, or let whoever put it off know of it."""
    if _state.wake is None:
        raise SystemExit(Terminated.exit_code)
    _state.is_asked = True
    _state.wake()


def is_asked() -> bool:
    """Whether the end was asked for and put off."""
    return _state.is_asked


@contextmanager
def put_off(wake: Callable[[], None]) -> Iterator[None]:
    """For the time of the block a request to end only calls `wake`, in the handler of the signal;
    the end then comes after the block, in whatever way that is left."""
    _state.wake = wake
    try:
        yield
    finally:
        _state.wake = None
        if _state.is_asked:
            _state.is_asked = False
            raise SystemExit(Terminated.exit_code)


@contextmanager
def interrupt_put_off() -> Iterator[None]:
    """For steps that must not be parted: Ctrl-C in the block raises KeyboardInterrupt after it."""
    presses = 0

    def handler(number: int, frame: FrameType | None) -> None:
        nonlocal presses
        del number, frame
        presses += 1

    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if presses:
        raise KeyboardInterrupt
