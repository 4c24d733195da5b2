"""How does a long text reach a person? Through their pager, where they sit at a terminal."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence

from zephyrctl import terminal


def page_lines(lines: Sequence[str]) -> None:
    """Show lines by $PAGER (`less` where it is not set) on a terminal, plainly elsewhere.

    A pager that cannot be started is said, and the text is shown without.
    """
    command = _pager()
    if command is None or not terminal.is_tty(sys.stdout):
        _plainly(lines)
        return
    # -F ends at once where everything fits, -X leaves the text on the screen.
    env = {"LESS": "FX", **os.environ}
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, env=env)
    except OSError as error:
        terminal.say(f"the pager '{command[0]}' does not start ({error.strerror}); shown without")
        _plainly(lines)
        return
    _feed(process, "".join(f"{terminal.safe(line)}\n" for line in lines))


def _feed(process: subprocess.Popen[bytes], text: str) -> None:
    """Hand the text over and wait; Ctrl-C belongs to the pager, and leaving early is no error."""
    encoded = text.encode(sys.stdout.encoding or "utf-8", errors="replace")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process.communicate(encoded)
    finally:
        signal.signal(signal.SIGINT, before)


def _plainly(lines: Sequence[str]) -> None:
    for line in lines:
        terminal.out(line)


def _pager() -> list[str] | None:
    """The words of $PAGER; None for an empty one, and where there is none on this machine."""
    wish = os.environ.get("PAGER")
    if wish is None:
        found = shutil.which("less") or shutil.which("more")
        return [found] if found else None
    try:
        return shlex.split(wish) or None
    except ValueError:
        return [wish]
