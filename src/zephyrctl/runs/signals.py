"""Was this process asked to stop?

The handler only sets a flag, so that work is put down at a safe place: the end of a row, a batch
or an optimizer step. Work of which a stop keeps nothing, such as loading a model, is left at once
(`at_once`). A cluster may deliver the same signal several times.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from zephyrctl.errors import Interrupted, Terminated

_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
_received: list[int] = []
_depth = 0
"""Of `at_once` blocks that this process is in."""


def install(numbers: Sequence[int] = _STOPPING) -> None:
    """Let SIGTERM, SIGINT and SIGUSR1 (a cluster's early warning) set a flag; idempotent."""
    for number in numbers:
        signal.signal(number, _remember)


@contextmanager
def noting() -> Iterator[None]:
    """As `install`, for the time of the block; what was noted stays so."""
    before = {number: signal.signal(number, _remember) for number in _STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_to_parent() -> None:
    """Ignore them in a process that works for another one, which decides: a cluster sends its
    signals to every process of a job."""
    for number in _STOPPING:
        signal.signal(number, signal.SIG_IGN)


def stop_signal() -> int | None:
    """The signal that asked to stop, or None. The first Ctrl-C wins over a later SIGTERM."""
    if signal.SIGINT in _received:
        return signal.SIGINT
    return _received[0] if _received else None


def raise_if_stopping() -> None:
    """Raise Interrupted after Ctrl-C and Terminated after any other request to stop."""
    number = stop_signal()
    if number == signal.SIGINT:
        raise Interrupted("stopped by Ctrl-C", hint="the same command goes on from here")
    if number is not None:
        raise Terminated(f"stopped by {signal.Signals(number).name}")


@contextmanager
def at_once() -> Iterator[None]:
    """Raise the error of `raise_if_stopping` in the middle of this block, wherever it is.

    For work that leaves nothing half done behind it. Should a library swallow the error, the flag
    stays, and the next `raise_if_stopping` raises it again. Only the main thread gets signals.
    """
    global _depth
    raise_if_stopping()
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1


def clear() -> None:
    """Forget what was received, for a process that goes on after an answered request."""
    _received.clear()


def _remember(number: int, frame: FrameType | None) -> None:
    del frame
    if number in _received:
        return
    _received.append(number)
    if _depth:
        raise_if_stopping()
