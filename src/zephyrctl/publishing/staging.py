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
    left = f"{out} is as it was before" if out.exists() else f"nothing of it is left at {out}"
    again = "the same command begins anew"
    try:
        with _term_leaves_by_finally(), staged_directory(out) as folder:
            yield folder
    except KeyboardInterrupt:
        raise Interrupted(f"the export was interrupted; {left}", hint=again) from None
    except _Term:
        raise Terminated(f"the export was told to end; {left}", hint=again) from None


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
