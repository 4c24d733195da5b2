"""What does one block of a reply look like, as rows of a screen?

The text is foreign twice over. `terminal.safe` has taken control characters out of the source, and
takes them out again of what Markdown made of it, because `&#x202e;` is harmless only until it is
decoded. Raw HTML and Rich markup are text; a link shows its target as text and is never a
hyperlink of the terminal's, whose target could differ from what is read; an image is its
description and its address.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from zephyrctl.chat.markup import Block, Container, cells_of
from zephyrctl.terminal import safe

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token
    from rich.syntax import ANSISyntaxTheme

_STYLES = {
    "strong_open": Style(bold=True),
    "em_open": Style(italic=True),
    "s_open": Style(strike=True),
    "code_inline": Style(color="cyan"),
    "target": Style(dim=True),
}
_HEADINGS = {1: Style(bold=True, underline=True), 2: Style(bold=True)}
_MINOR_HEADING = Style(bold=True, italic=True)
_FAINT = Style(dim=True)
# How much of a string or comment of many lines the highlighter reads again before its next lines.
_CONTEXT_CHARS = 1024
_TAB = 4
_NARROWEST_COLUMN = 4
_COLUMN_GAP = 3
# PHP is read as such without its opening tag, which may stand in a part before.
_LEXING = {"stripnl": False, "ensurenl": False, "startinline": True}
_LANGUAGE = re.compile(r"[\w+#.-]{1,30}")


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
    columns: tuple[int, ...] = ()
    """Natural widths of a table's columns, kept from its first part."""


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
        return _table(block, pen, console=console, width=width)
    if block.kind == "empty":
        return [], Pen()
    if block.kind == "code":
        text, before = _code(block, pen.before)
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


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": False}).enable("strikethrough")


def _prose(block: Block) -> Text:
    content = block.content.rstrip() if block.ends else block.content
    if block.kind != "heading":
        return inline(content)
    style = _HEADINGS.get(block.level, _MINOR_HEADING)
    text = Text(style=style)
    return text.append_text(inline(content))


def inline(source: str) -> Text:
    """Emphasis, code, links and breaks of `source`."""
    text = Text()
    for token in _parser().parseInline(source):
        _append(text, token.children or [])
    return text


def _append(text: Text, tokens: list[Token]) -> None:
    styles = [Style.null()]
    targets: list[str] = []
    for token in tokens:
        kind = token.type
        style = Style.combine(styles)
        if kind == "softbreak":
            text.append(" ", style)
        elif kind == "hardbreak":
            text.append("\n")
        elif kind == "code_inline":
            text.append(safe(token.content), style + _STYLES["code_inline"])
        elif kind == "link_open":
            targets.append("" if token.markup == "autolink" else _target(token, "href"))
        elif kind == "link_close":
            text.append(targets.pop(), style + _STYLES["target"])
        elif kind == "image":
            text.append(safe(token.content) or "image", style)
            text.append(_target(token, "src"), style + _STYLES["target"])
        elif kind in _STYLES:
            styles.append(_STYLES[kind])
        elif token.nesting < 0:
            styles.pop()
        else:
            text.append(safe(token.content), style)


def _target(token: Token, name: str) -> str:
    address, title = token.attrs.get(name, ""), token.attrs.get("title")
    return safe(f' ({address} "{title}")' if title else f" ({address})")


# Code


def _code(block: Block, before: str) -> tuple[Text, str]:
    """The coloured code of a block, and what the highlighter must read before the next part."""
    text, is_open = _highlighted(before, block.content, _lexer(block.info))
    if not is_open:
        return text, ""
    whole = before + block.content
    kept = whole[-_CONTEXT_CHARS:]
    if len(whole) > _CONTEXT_CHARS and "\n" in kept:
        kept = kept[kept.index("\n") + 1 :]
    return text, kept


@cache
def _lexer(info: str) -> Any:
    """The Pygments lexer for the first word behind a fence; None where it is no known language."""
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    name = _LANGUAGE.match(info.strip("{. "))
    if name is None:
        return None
    try:
        return get_lexer_by_name(name[0].lower(), **_LEXING)
    except ClassNotFound:
        return None


@cache
def _theme() -> ANSISyntaxTheme:
    from rich.syntax import ANSI_DARK, ANSISyntaxTheme

    return ANSISyntaxTheme(ANSI_DARK)


def _highlighted(before: str, code: str, lexer: Any) -> tuple[Text, bool]:
    """`code`, read after `before`, and whether it ends inside a string or comment of many lines.

    The colours are the terminal's own, readable on any background.
    """
    if lexer is None:
        return Text(code), False
    from pygments.token import Comment, String, Token

    text, skip, kind = Text(), len(before), Token
    style_of = _theme().get_style_for_token
    try:
        for kind, token in lexer.get_tokens(before + code):
            if len(token) > skip:
                text.append(token[skip:], style_of(kind))
            skip = max(skip - len(token), 0)
    except RecursionError:
        return Text(code), False
    # A lexer may normalize what it reads; positions are then no longer those of the code.
    return text if text.plain == code else Text(code), kind in String or kind in Comment


# Tables


def _table(block: Block, pen: Pen, *, console: Console, width: int) -> tuple[list[Text], Pen]:
    """A table's rows; as its source where the columns have no room.

    The widths of the first part stay, so that rows far below stand under their header.
    """
    from rich.table import Table

    lines = block.content.splitlines()
    header = [inline(cell) for cell in cells_of(lines[0])]
    count = len(header)
    body = [_row(line, count) for line in lines[2:]]
    cells = [header, *body]
    natural = pen.columns or tuple(
        max(1, *(row[index].cell_len for row in cells)) for index in range(count)
    )
    after = Pen() if block.ends else Pen(columns=natural)
    room = width - _COLUMN_GAP * (count - 1)
    if room < count * _NARROWEST_COLUMN:
        shown = Text("\n".join(lines[2:] if block.continued else lines))
        return list(shown.wrap(console, width, overflow="fold")) if shown else [], after
    table = Table(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, show_header=not block.continued
    )
    for text, size, align in zip(header, fitted(natural, room), cells_of(lines[1]), strict=True):
        justify = "center" if align[0] == align[-1] == ":" else "left"
        if align[-1] == ":" and justify != "center":
            justify = "right"
        bold = Text(style="bold").append_text(text)
        table.add_column(bold, width=size, justify=justify, overflow="fold")
    for row in body:
        table.add_row(*row)
    options = console.options.update(width=width)
    rendered = console.render_lines(table, options, pad=False)
    rows = [_joined(line) for line in rendered]
    return (rows if body or not block.continued else []), after


def _row(line: str, count: int) -> list[Text]:
    """A row's cells; what it has too many stays readable in the last one."""
    cells = cells_of(line)
    if len(cells) > count:
        cells[count - 1 :] = [" | ".join(cells[count - 1 :])]
    return [inline(cell) for cell in cells] + [Text()] * (count - len(cells))


def fitted(natural: tuple[int, ...], room: int) -> list[int]:
    """Widths that add up to at most `room`: narrow columns whole, wide ones share the rest."""
    widths = list(natural)
    left, waiting = room, sorted(range(len(natural)), key=natural.__getitem__)
    for place, index in enumerate(waiting):
        widths[index] = min(natural[index], max(1, left // (len(waiting) - place)))
        left -= widths[index]
    return widths


def _joined(line: list[Segment]) -> Text:
    return Text.assemble(*((segment.text, segment.style or "") for segment in line))
