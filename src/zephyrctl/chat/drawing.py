"""What does one block of a reply look like, as rows of a screen?

The text is foreign: `terminal.safe` has taken control characters out of the source, and `inline`
takes them out again of what Markdown made of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from rich.console import Console
from rich.style import Style
from rich.text import Text

from zephyrctl.chat.highlighting import coloured
from zephyrctl.chat.inline import inline
from zephyrctl.chat.markup import Block, Container
from zephyrctl.chat.tables import Columns, table_rows

_HEADINGS = {1: Style(bold=True, underline=True), 2: Style(bold=True)}
_MINOR_HEADING = Style(bold=True, italic=True)
_FAINT = Style(dim=True)
_TAB = 4


@dataclass(frozen=True)
class Pen:
    """What a block's looks depend on beside the block: what was drawn before it."""

    depth: int | None = None
    """Containers around the block above; None at the top of the reply."""
    carry: Text | None = None
    """The last row of a leaf's part, not yet drawn: the next part goes on in it."""
    marks: Text | None = None
    """The list and quote marks of that row."""
    before: str = ""
    """The end of the code above, in the same fence."""
    columns: Columns | None = None
    """Of the table above, the next part of which comes."""


def draw(block: Block, pen: Pen, *, console: Console, width: int) -> tuple[list[Text], Pen]:
    """The rows of `block`, at most `width` cells each, and the pen for the block after it."""
    if block.kind == "empty" and not block.path:
        return [], pen
    marks, margin = _margins(block.path, width)
    if pen.marks is not None:
        marks = pen.marks
    if block.kind == "code":
        marks, margin = marks + "  ", margin + "  "
    inner = max(width - margin.cell_len, 1)
    rows, after = _leaf(block, pen, console=console, width=inner)
    if block.kind == "empty":
        rows = [Text()]
    drawn = [mark + row for mark, row in zip([marks] + [margin] * len(rows), rows, strict=False)]
    if _needs_gap(block, pen):
        drawn.insert(0, _margins(tuple(c for c in block.path if not c.fresh), width)[1])
    for row in drawn:
        row.rstrip()
    pending = after.carry is not None and not rows
    return drawn, replace(after, depth=len(block.path), marks=marks if pending else None)


def _needs_gap(block: Block, pen: Pen) -> bool:
    """Whether a blank row stands above: as in the source, and always at the outermost level."""
    if pen.depth is None or block.continued:
        return False
    return block.gap or min(pen.depth, len(block.path)) == 0


def _margins(path: tuple[Container, ...], width: int) -> tuple[Text, Text]:
    """What stands before the first row, and before the others, in at most half of the width."""
    first, others = Text(), Text()
    for container in reversed(path):
        if container.kind == "quote":
            mark = rest = "▌ "
        else:
            mark = " • " if container.kind == "bullet" else f"{container.number:>2}. "
            rest = " " * len(mark)
        if len(first) + len(mark) > width // 2:
            break
        first = Text(mark if container.fresh else rest, style=_FAINT) + first
        others = Text(rest, style=_FAINT) + others
    return first, others


def _leaf(block: Block, pen: Pen, *, console: Console, width: int) -> tuple[list[Text], Pen]:
    if block.kind == "rule":
        return [Text("─" * width, style=_FAINT)], Pen()
    if block.kind == "table":
        rows, columns = table_rows(block, pen.columns, console=console, width=width)
        return rows, Pen() if block.ends else Pen(columns=columns)
    if block.kind == "empty":
        return [], Pen()
    if block.kind == "code":
        text, before = coloured(block.content, before=pen.before, info=block.info)
    else:
        text, before = _prose(block), ""
    if pen.carry is not None:
        text = pen.carry + text
    goes_on_in_row = not (block.ends or (block.kind == "code" and block.content.endswith("\n")))
    if text.plain.endswith("\n"):
        text.right_crop(1)
    elif not text and block.kind == "code":
        return [], Pen(before=before)
    rows = list(text.wrap(console, width, overflow="fold", tab_size=_TAB))
    carry = rows.pop() if goes_on_in_row else None
    return rows, Pen(carry=carry, before="" if block.ends else before)


# Prose


def _prose(block: Block) -> Text:
    content = block.content.rstrip() if block.ends else block.content
    if block.kind != "heading":
        return inline(content)
    style = _HEADINGS.get(block.level, _MINOR_HEADING)
    text = Text(style=style)
    return text.append_text(inline(content))
