"""How wide are the columns of a table, and what do its rows look like?"""

from __future__ import annotations

from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from zephyrctl.chat.inline import inline
from zephyrctl.chat.markup import Block, cells_of

_NARROWEST_COLUMN = 4
_COLUMN_GAP = 3


@dataclass(frozen=True)
class Columns:
    """What the first part of a table tells of the widths of its columns. They stay, so that rows
    far below stand under their header."""

    natural: tuple[int, ...]
    """Cells that the widest content takes."""
    words: tuple[int, ...]
    """Cells that the longest word takes."""


def table_rows(
    block: Block, columns: Columns | None, *, console: Console, width: int
) -> tuple[list[Text], Columns]:
    """The rows of a table or of a part of one, and the columns for the part after it; as its
    source where the columns have no room."""
    lines = block.content.splitlines()
    header = [inline(cell) for cell in cells_of(lines[0])]
    count = len(header)
    body = [_row(line, count) for line in lines[2:]]
    columns = columns or _measured([header, *body])
    room = width - _COLUMN_GAP * (count - 1)
    if room < count * _NARROWEST_COLUMN:
        shown = Text("\n".join(lines[2:] if block.continued else lines))
        return list(shown.wrap(console, width, overflow="fold")) if shown else [], columns
    if block.continued and not body:
        return [], columns
    table = Table(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, show_header=not block.continued
    )
    for text, size, align in zip(header, fitted(columns, room), cells_of(lines[1]), strict=True):
        justify = "center" if align[0] == align[-1] == ":" else "left"
        if align[-1] == ":" and justify != "center":
            justify = "right"
        bold = Text(style="bold").append_text(text)
        table.add_column(bold, width=size, justify=justify, overflow="fold")
    for row in body:
        table.add_row(*row)
    options = console.options.update(width=width)
    return [_joined(line) for line in console.render_lines(table, options, pad=False)], columns


def fitted(columns: Columns, room: int) -> list[int]:
    """Widths that add up to at most `room`: narrow columns whole, wide ones share the rest, and no
    word is broken where there is room for the longest one of each column."""
    if sum(columns.words) > room:
        return _shared(list(columns.natural), room)
    rest = [whole - word for whole, word in zip(columns.natural, columns.words, strict=True)]
    more = _shared(rest, room - sum(columns.words))
    return [word + size for word, size in zip(columns.words, more, strict=True)]


def _shared(wanted: list[int], room: int) -> list[int]:
    """What each gets of `room`: all that it wants, or as much as the others that get less."""
    given = list(wanted)
    waiting = sorted(range(len(wanted)), key=wanted.__getitem__)
    for place, index in enumerate(waiting):
        given[index] = min(wanted[index], room // (len(waiting) - place))
        room -= given[index]
    return given


def _measured(rows: list[list[Text]]) -> Columns:
    cells = list(zip(*rows, strict=True))
    return Columns(
        tuple(max(1, *(cell.cell_len for cell in column)) for column in cells),
        tuple(max(_longest_word(cell.plain) for cell in column) for column in cells),
    )


def _longest_word(text: str) -> int:
    return max(map(cell_len, text.split()), default=1)


def _row(line: str, count: int) -> list[Text]:
    """A row's cells; what it has too many stays readable in the last one."""
    cells = cells_of(line)
    if len(cells) > count:
        cells[count - 1 :] = [" | ".join(cells[count - 1 :])]
    return [inline(cell) for cell in cells] + [Text()] * (count - len(cells))


def _joined(line: list[Segment]) -> Text:
    return Text.assemble(*((segment.text, segment.style or "") for segment in line))
