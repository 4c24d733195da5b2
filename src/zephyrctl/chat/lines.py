"""Where does a question that is typed begin and end, and with which sign is it asked for?"""

from __future__ import annotations

from collections.abc import Callable
from typing import IO

from zephyrctl import terminal

Read = Callable[[str], str]
"""Shows a sign and returns what is typed; EOFError at the end, KeyboardInterrupt on Ctrl-C, and
UsageError for what is no text."""

_FENCE = '"""'


def is_open(text: str) -> bool:
    """Whether a text begins with three quotation marks and does not end with them yet."""
    begun = text.lstrip()
    if not begun.startswith(_FENCE):
        return False
    return not begun.removeprefix(_FENCE).rstrip().endswith(_FENCE)


def unfenced(text: str) -> str:
    """The text between the quotation marks that `is_open` waits for; any other as it is."""
    begun = text.strip()
    if not begun.startswith(_FENCE):
        return text
    return begun.removeprefix(_FENCE).removesuffix(_FENCE).strip("\n")


def spelt(sign: str, stream: IO[str]) -> str:
    """The sign of a prompt in what the stream can encode."""
    fancy = terminal.speaks_unicode(stream)
    return sign if fancy else sign.replace("›", ">").replace("…", ".")
