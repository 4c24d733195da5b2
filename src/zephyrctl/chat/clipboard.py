"""How does a text reach the clipboard?

By the machine's own program where there is one, and by OSC 52, an escape sequence with which the
terminal is asked to set its clipboard, also at the other end of ssh. That sequence is written here
alone: `terminal.safe` takes every other one out of what is shown.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from collections.abc import Mapping

MOST_BY_OSC_52 = 74_994
"""Bytes; xterm's limit of 100,000 characters, in base64 with the sequence round them."""
_PATIENCE_S = 5


def programs(env: Mapping[str, str]) -> list[list[str]]:
    """The programs that may set the clipboard of the session that `env` tells of, if there."""
    found = [["pbcopy"]]
    if env.get("WAYLAND_DISPLAY"):
        found.append(["wl-copy"])
    if env.get("DISPLAY"):
        found.append(["xclip", "-selection", "clipboard"])
    return [argv for argv in found if shutil.which(argv[0], path=env.get("PATH"))]


def copy(text: str, *, env: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Copy `text`; returns the ways that were taken, and why others were not."""
    content = text.encode("utf-8", errors="replace")
    ways, problems = [], []
    for argv in programs(env):
        problem = _by_program(argv, content)
        if problem is None:
            ways.append(argv[0])
            break
        problems.append(problem)
    if len(content) > MOST_BY_OSC_52:
        problems.append(f"OSC 52 takes {MOST_BY_OSC_52:,} bytes, and these are {len(content):,}")
    elif (problem := _by_terminal(content)) is None:
        ways.append("OSC 52")
    else:
        problems.append(problem)
    return ways, problems


def _by_program(argv: list[str], content: bytes) -> str | None:
    """What is wrong, None where nothing is. xclip stays in the background with its streams open,
    so none of them is waited for."""
    try:
        done = subprocess.run(
            argv,
            input=content,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{argv[0]} did not end within {_PATIENCE_S} s"
    except OSError as error:
        return f"{argv[0]} cannot be run: {error.strerror}"
    return f"{argv[0]} ended with code {done.returncode}" if done.returncode else None


def _by_terminal(content: bytes) -> str | None:
    """Ask the terminal itself, wherever stdout goes; what is wrong, None where nothing is."""
    try:
        descriptor = os.open("/dev/tty", os.O_WRONLY | os.O_NOCTTY)
    except OSError:
        return "OSC 52 needs a terminal"
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(b"\x1b]52;c;" + base64.b64encode(content) + b"\x07")
    except OSError as error:
        return f"OSC 52 cannot be sent: {error.strerror}"
    return None
