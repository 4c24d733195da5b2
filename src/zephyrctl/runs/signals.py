"""Was this process asked to stop?

The handler only sets a flag, so that work is put down at a safe place: the end of a row, a batch
or an optimizer step. A cluster may deliver the same signal several times.
"""

from __future__ import annotations

import signal
from types import FrameType

from zephyrctl.errors import Interrupted, Terminated

_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
_received: list[int] = []


def install() -> None:
    """Let SIGTERM, SIGINT and SIGUSR1 (a cluster's early warning) set a flag; idempotent."""
    for number in _STOPPING:
        signal.signal(number, _remember)


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


def clear() -> None:
    """Forget what was received, for a process that goes on after an answered request."""
    _received.clear()


def _remember(number: int, frame: FrameType | None) -> None:
    del frame
    if number not in _received:
        _received.append(number)
