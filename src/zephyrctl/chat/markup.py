"""What can a line of Markdown begin, and what is a block of them?"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

BlockKind = Literal["paragraph", "heading", "code", "table", "rule", "empty"]

QUOTE = re.compile(r" {0,3}> ?")
HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*)|$)")
CLOSING_HASHES = re.compile(r"(?:^|[ \t]+)#+[ \t]*$")
UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*$")
RULE = re.compile(r" {0,3}([-*_])[ \t]*(?:\1[ \t]*){2,}$")
FENCE = re.compile(r"( {0,3})(`{3,}(?=[^`]*$)|~{3,})(.*)$")
ITEM = re.compile(r"( {0,3})([-+*]|(\d{1,9})[.)])( +|$)")
_DELIMITERS = re.compile(r"(?!- )[-:|][-:| \t]+$")
LEADING = re.compile(r"[\t >*+\-\d.)]*")


@dataclass(frozen=True)
class Container:
    """A list item or a quote around a leaf."""

    kind: Literal["quote", "bullet", "ordered"]
    number: int = 0
    """Position in an ordered list."""
    fresh: bool = False
    """Whether this leaf is the first in it, so that its bullet or number is to be drawn."""


@dataclass(frozen=True)
class Block:
    """A leaf, or a part of one. The `text` of all blocks, joined, is the text that was fed."""

    kind: BlockKind
    text: str
    """The source, with the markers and blank lines before it."""
    content: str
    """What the leaf holds, free of markers: inline Markdown, code, or a table's lines."""
    path: tuple[Container, ...] = ()
    """The containers, outermost first."""
    level: int = 0
    """Of a heading, 1 to 6."""
    info: str = ""
    """What stands behind the opening fence."""
    gap: bool = False
    """Whether a blank line stood before it."""
    continued: bool = False
    """Whether a part of the same leaf came before."""
    ends: bool = True
    """Whether the leaf ends here."""


def is_table_head(header: str, delimiters: str) -> bool:
    """Whether the two lines begin a table: as many columns in both (GFM)."""
    line = delimiters.strip(" \t")
    if "|" not in header or not _DELIMITERS.match(line):
        return False
    cells = cells_of(line)
    return len(cells) == len(cells_of(header)) > 0 and all(
        re.fullmatch(r":?-+:?", cell) for cell in cells
    )


def cells_of(line: str) -> list[str]:
    """The cells of a table's line; a pipe behind a backslash belongs to its cell."""
    cells = [cell.replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip())]
    if cells and not cells[0]:
        cells.pop(0)
    if cells and not cells[-1].strip():
        cells.pop()
    return [cell.strip() for cell in cells]
