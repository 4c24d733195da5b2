"""Which parts of a growing Markdown text are finished, and where does the open tail begin?

A reply comes in pieces, and drawing it whole at each piece costs more with every piece. So the
text is cut into its leaves (a paragraph, a heading, the code of a fence, a table, a rule), each
with the lists and quotes around it (`structure`). A leaf is given out once, when no further text
can change it; one that grows long is given out in parts (`leaves`), and a line without end (1 MB
of it, say) is read in stretches. Decisions depend on the text alone, never on how it was cut into
pieces.
"""

from __future__ import annotations

import copy
import re
from dataclasses import replace

from zephyrctl.chat.cuts import last_break, last_clean_cut, provisionally_closed
from zephyrctl.chat.leaves import PROSE
from zephyrctl.chat.markup import Block
from zephyrctl.chat.structure import Structure

# Characters of a line of code, and of a table's row, read as one.
_CODE_LINE = 1024
_ROW = 8192

# Possessive: a long row of bars would be tried anew from each of them.
_ONLY_MARKS = re.compile(r"[\s>*+\-_=#`~|:]*+(?:\d{1,9}[.)]?)?+[\s*_`~|]*+$")


class Splitter:
    """Cuts a text that comes in pieces into blocks."""

    def __init__(self) -> None:
        self._buffer = ""
        self._tried = 0
        self._structure = Structure()

    def feed(self, text: str) -> list[Block]:
        """The blocks that `text` finishes."""
        self._buffer += text
        position = 0
        while (end := self._end_of_piece(position)) is not None:
            piece = self._buffer[position:end]
            self._structure.take(piece, whole=piece.endswith("\n"))
            position = end
        self._buffer = self._buffer[position:]
        return self._structure.finished()

    def close(self) -> list[Block]:
        """What is still open, because no more text comes."""
        if self._buffer or self._structure.inside_line:
            self._structure.take(self._buffer, whole=True)
            self._buffer = ""
        return self._structure.close()

    def preview(self) -> list[Block]:
        """The open tail as it would be if the text ended here.

        An unfinished line of marks only is left out: a `-` below a paragraph would make it a
        heading for a moment, before it becomes a list. Open bold and code count as closed.
        """
        tail = copy.deepcopy(self)
        may_be_marks = not tail._structure.inside_line and tail._structure.kind != "code"
        if may_be_marks and _ONLY_MARKS.match(tail._buffer):
            tail._buffer = ""
        blocks = tail.close()
        if blocks and blocks[-1].kind in ("paragraph", "heading"):
            content = provisionally_closed(blocks[-1].content)
            blocks[-1] = replace(blocks[-1], content=content)
        return blocks

    def _end_of_piece(self, start: int) -> int | None:
        """Where the next line ends, or the next stretch of a long one; None while undecided."""
        limits, is_prose = self._limits(start)
        newline = self._buffer.find("\n", start, start + limits[-1])
        length = (len(self._buffer) if newline < 0 else newline + 1) - start
        for limit in limits:
            if length <= limit:
                break
            if limit <= self._tried:
                continue
            stretch = self._buffer[start : start + limit]
            cut = last_clean_cut(stretch) if is_prose else limit
            if not cut and limit == limits[-1]:
                cut = last_break(stretch)
            if cut:
                self._tried = 0
                return start + cut
            self._tried = limit
        if newline < 0:
            return None
        self._tried = 0
        return newline + 1

    def _limits(self, start: int) -> tuple[tuple[int, ...], bool]:
        """The greatest lengths of the piece, rising, and whether it must be cut cleanly."""
        kind = self._structure.kind
        if kind == "code":
            return (_CODE_LINE,), False
        head = self._buffer[start : start + 64].lstrip(" >\t")
        if not self._structure.inside_line and (kind == "table" or head.startswith("|")):
            return (_ROW,), False
        return PROSE, True
