"""How do foreign words and numbers stand in a card's Markdown?"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from zephyrctl.config.paths import is_local

_FOLDERS = re.compile(r"(?<![\w.<>])(?:~|\.{1,2})?/(?:[^\s/,;:)'\"]+/)+")
_SERVICE = re.compile(r"openai\+https?://[^\s/]+(?:/[^\s:]*)?:")


def public(value: object) -> str:
    """A word of a run's records without folders and addresses of where it was made."""
    text = _SERVICE.sub("", str(value))
    return Path(text).name if is_local(text) else _FOLDERS.sub("", text)


def plain(value: object) -> str:
    """A foreign word as text of one Markdown cell."""
    line = " ".join(str(value).split())
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|" else letter for letter in line)


def number(value: object) -> str:
    """A float with three decimals, any other value as it is, and `none` for None."""
    return f"{value:.3f}" if isinstance(value, float) else "none" if value is None else str(value)


def interval(entry: Mapping[str, Any]) -> str:
    """`low to high` of a score or a comparison; `none` where it has none."""
    if entry.get("low") is None or entry.get("high") is None:
        return "none"
    return f"{number(entry['low'])} to {number(entry['high'])}"


def span(low: float, high: float) -> str:
    """An interval in brackets; nothing where it is not finite."""
    return f" ({low:.3f} to {high:.3f})" if math.isfinite(low) and math.isfinite(high) else ""


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """A Markdown table; cells are Markdown already, so that foreign words have to be `plain`."""
    yield "| " + " | ".join(head) + " |"
    yield "|---" * len(head) + "|"
    for row in rows:
        yield "| " + " | ".join(map(str, row)) + " |"
    yield ""
