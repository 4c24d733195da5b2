"""What is open while Markdown is read, and how much of a long leaf can be given out before it ends?

- code by whole lines, a table by whole rows;
- a paragraph between words where no inline mark is open (see `cuts`), its newest line kept back,
  because a table's header or a heading's text can be told from it only by the line below.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from zephyrctl.chat.cuts import closed_stretches
from zephyrctl.chat.markup import ITEM, BlockKind

PROSE = (600, 1200, 2400)
"""Characters of a paragraph, and of a line of it: given out in parts beyond the first, at the
latest beyond the last, whether or not an inline mark is open. One screen row has 20 to 200."""
_CODE_LINES, _CODE_CHARS = 12, 2048
_TABLE_ROWS, _TABLE_CHARS = 20, 4096


@dataclass
class Open:
    """An open container; the outermost one is the document itself."""

    kind: Literal["document", "quote", "bullet", "ordered"]
    width: int = 0
    number: int = 0
    drawn: bool = False
    empty: bool = True
    list_mark: str = ""
    next_number: int = 1


@dataclass
class Leaf:
    kind: BlockKind
    gap: bool = False
    pieces: list[str] = field(default_factory=list)
    """As many as the newest entries of the splitter's sources that belong to the leaf."""
    head: str = ""
    """A table's header and delimiter lines once they were given out."""
    level: int = 0
    info: str = ""
    fence: str = ""
    indent: int = 0
    opening: bool = False
    continued: bool = False
    newest_is_line: bool = False
    """Whether the newest piece is a whole line."""
    next_cut: int = 0
    """How long the leaf must be before another place for a cut is looked for."""


def item_of(line: str, *, interrupts: bool) -> Open | None:
    """The list item that the line begins; not each can interrupt a paragraph (CommonMark)."""
    match = ITEM.match(line)
    if match is None:
        return None
    blank = not line[match.end() :].strip()
    if interrupts and (blank or match[3] not in (None, "1")):
        return None
    spaces = len(match[4])
    padding = spaces if 1 <= spaces <= 4 and not blank else 1
    width = len(match[1]) + len(match[2]) + padding
    kind = "bullet" if match[3] is None else "ordered"
    return Open(kind, width, int(match[3] or 0), list_mark=match[2][-1])


def part_of(leaf: Leaf) -> int:
    """How many pieces of a leaf that has grown long can be given out now; 0 for none."""
    size = sum(map(len, leaf.pieces))
    if leaf.kind == "code":
        lines = sum(piece.endswith("\n") for piece in leaf.pieces)
        return len(leaf.pieces) if lines >= _CODE_LINES or size >= _CODE_CHARS else 0
    if leaf.kind == "table":
        is_long = len(leaf.pieces) >= _TABLE_ROWS + 2 or size >= _TABLE_CHARS
        return len(leaf.pieces) if is_long else 0
    if leaf.kind in ("rule", "empty") or size < max(PROSE[0], leaf.next_cut):
        return 0
    count = _prose_cut(leaf.pieces, size)
    leaf.next_cut = 0 if count else size + PROSE[0] // 2
    return count


def _prose_cut(pieces: list[str], size: int) -> int:
    """How many pieces of a long paragraph can be given out."""
    last = len(pieces) - pieces[-1].endswith("\n")
    if size >= PROSE[-1]:
        return last
    stretches = closed_stretches("".join(pieces))
    end = sum(map(len, pieces[:last]))
    for count in range(last, 0, -1):
        while stretches and stretches[-1][0] >= end:
            stretches.pop()
        if stretches and end <= stretches[-1][1]:
            return count
        end -= len(pieces[count - 1])
    return 0
