"""What is left of an export that is stopped in the middle? (what was there before)"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from zephyrctl.errors import Interrupted, Terminated
from zephyrctl.runs.atomic import staged_directory


@contextmanager
def staged_export(out: Path) -> Iterator[Path]:
    """An empty folder that becomes `out` when the block ends well.

    Interrupted or Terminated where Ctrl-C or SIGTERM stops it: what was written is removed then. A
    kill leaves a hidden folder beside `out`, which the next export to it removes.
    """
    with told_what_is_left(out), staged_directory(out) as folder:
        yield folder


@contextmanager
def told_what_is_left(out: Path | None) -> Iterator[None]:
    """Where Ctrl-C or SIGTERM stops the block: Interrupted or Terminated, which say what is at
    `out` now. `out` is None as long as nothing is known that could be written to."""
    before = _number_of(out)
    again = "the same command begins anew"
    try:
        with _term_leaves_by_finally():
            yield
    except KeyboardInterrupt:
        text = f"the export was interrupted; {_left(out, before)}"
        raise Interrupted(text, hint=again) from None
    except _Term:
        text = f"the export was told to end; {_left(out, before)}"
        raise Terminated(text, hint=again) from None


def _number_of(out: Path | None) -> int | None:
    """What tells a folder from another one of its name; None where there is none."""
    try:
        return None if out is None else out.expanduser().stat().st_ino
    except OSError:
        return None


def _left(out: Path | None, before: int | None) -> str:
    if out is None:
        return "nothing was written"
    now = _number_of(out)
    if now == before:
        return f"nothing of it is left at {out}" if now is None else f"{out} is as it was before"
    return f"{out} was whole by then"


class _Term(BaseException):
    """SIGTERM, on its way out through every `finally`."""


@contextmanager
def _term_leaves_by_finally() -> Iterator[None]:
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)  # a second one must not disturb the leaving
        raise _Term

    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
