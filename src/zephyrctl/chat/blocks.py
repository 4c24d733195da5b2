"""Which parts of a growing Markdown text are finished, and where does the open tail begin?

A reply comes in pieces, and drawing it whole at each piece costs more with every piece. So the
text is cut into its leaves (a paragraph, a heading, the code of a fence, a table, a rule), each
with the lists and quotes around it. A leaf is given out once, when no further text can change it;
one that grows long is given out in parts:

- code by whole lines, a table by whole rows, its header repeated in `content`;
- a paragraph between words where no inline mark is open (see `cuts`), its newest line kept back,
  because a table's header or a heading's text can be told from it only by the line below;
- a line without end (1 MB of it, say) in stretches, by the same rule.

Decisions depend on the text alone, never on how it was cut into pieces. The grammar is CommonMark's
block structure with GFM's tables, without HTML, link definitions and lists nested deeper than 20.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field, replace
from typing import Literal

from zephyrctl.chat import markup
from zephyrctl.chat.cuts import closed_stretches, last_break, last_clean_cut, provisionally_closed
from zephyrctl.chat.markup import Block, BlockKind, Container

DEEPEST = 20
# Characters of a paragraph, and of a line: given out in parts beyond the first, at the latest
# beyond the last whether or not an inline mark is open. One screen row has 20 to 200.
_PROSE = (600, 1200, 2400)
_CODE_LINE = 1024
_ROW = 8192
_CODE_LINES, _CODE_CHARS = 12, 2048
_TABLE_ROWS, _TABLE_CHARS = 20, 4096

_ONLY_MARKS = re.compile(r"[\s>*+\-_=#`~|:]*(?:\d{1,9}[.)]?)?[\s*_`~|]*$")


@dataclass
class _Open:
    """An open container; the outermost one is the document itself."""

    kind: Literal["document", "quote", "bullet", "ordered"]
    width: int = 0
    number: int = 0
    drawn: bool = False
    empty: bool = True
    list_mark: str = ""
    next_number: int = 1


@dataclass
class _Leaf:
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


class Splitter:
    """Cuts a text that comes in pieces into blocks."""

    def __init__(self) -> None:
        self._buffer = ""
        self._inside_line = False
        self._tried = 0
        self._open = [_Open("document")]
        self._leaf: _Leaf | None = None
        self._sources: list[str] = []
        self._gap = False
        self._done: list[Block] = []

    def feed(self, text: str) -> list[Block]:
        """The blocks that `text` finishes."""
        self._buffer += text
        position = 0
        while (end := self._end_of_piece(position)) is not None:
            piece = self._buffer[position:end]
            self._take(piece, whole=piece.endswith("\n"))
            position = end
        self._buffer = self._buffer[position:]
        done, self._done = self._done, []
        return done

    def close(self) -> list[Block]:
        """What is still open, because no more text comes."""
        if self._buffer or self._inside_line:
            self._take(self._buffer, whole=True)
            self._buffer = ""
        self._close_to(1)
        if self._sources:
            self._give(_Leaf("empty"), 0)
        done, self._done = self._done, []
        return done

    def preview(self) -> list[Block]:
        """The open tail as it would be if the text ended here.

        An unfinished line of marks only is left out: a `-` below a paragraph would make it a
        heading for a moment, before it becomes a list. Open bold and code count as closed.
        """
        tail = copy.deepcopy(self)
        in_code = tail._leaf is not None and tail._leaf.kind == "code"
        if not tail._inside_line and not in_code and _ONLY_MARKS.match(tail._buffer):
            tail._buffer = ""
        blocks = tail.close()
        if blocks and blocks[-1].kind in ("paragraph", "heading"):
            content = provisionally_closed(blocks[-1].content)
            blocks[-1] = replace(blocks[-1], content=content)
        return blocks

    # Lines, and stretches of long ones

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
        kind = self._leaf.kind if self._leaf else None
        if kind == "code":
            return (_CODE_LINE,), False
        head = self._buffer[start : start + 64].lstrip(" >\t")
        if not self._inside_line and (kind == "table" or head.startswith("|")):
            return (_ROW,), False
        return _PROSE, True

    def _take(self, piece: str, *, whole: bool) -> None:
        if self._inside_line:
            self._go_on(piece, whole=whole)
        else:
            self._line(piece, whole=whole)
        self._inside_line = not whole

    def _go_on(self, piece: str, *, whole: bool) -> None:
        """A further stretch of a long line: it belongs to the leaf that the line began."""
        self._sources.append(piece)
        leaf = self._leaf
        if leaf is None or leaf.opening:
            if leaf is not None:
                leaf.opening = not whole
            return
        leaf.pieces.append(piece)
        leaf.newest_is_line = False
        if leaf.kind == "heading" and whole:
            self._close_leaf()
        else:
            self._give_part()

    def _line(self, piece: str, *, whole: bool) -> None:
        rest, newline = piece.rstrip("\r\n"), "\n" * piece.endswith("\n")
        if "\t" in rest:
            rest = markup.LEADING.sub(lambda match: match[0].expandtabs(4), rest, count=1)
        depth, rest = self._match(rest)
        in_place = depth == len(self._open)
        leaf = self._leaf
        if leaf and leaf.kind == "code" and in_place and self._code(piece, rest, newline, whole):
            return
        if not rest.strip(" \t"):
            self._blank(depth, piece)
            return
        leaf = self._leaf
        while True:
            in_place = depth == len(self._open)
            paragraph = leaf is not None and leaf is self._leaf and leaf.kind == "paragraph"
            indent = len(rest) - len(rest.lstrip(" "))
            if indent >= 4 and not paragraph:
                self._begin(depth, _Leaf("code", indent=4))
                self._add(piece, rest[4:] + newline)
                return
            if indent >= 4:
                break
            quote = markup.QUOTE.match(rest)
            if quote and len(self._open) <= DEEPEST:
                self._enter(depth, _Open("quote"))
                depth, rest = depth + 1, rest[quote.end() :]
            elif self._leaf_line(depth, piece, rest, whole=whole, same=paragraph and in_place):
                return
            elif item := self._item(rest, interrupts=paragraph and in_place):
                self._enter(depth, item)
                depth, rest = depth + 1, rest[item.width :]
            else:
                break
            if not rest.strip(" \t"):
                self._sources.append(piece)
                return
        self._text(depth, piece, rest.lstrip(" ") + newline, whole=whole)

    def _match(self, rest: str) -> tuple[int, str]:
        """How many open containers the line goes on, and what of it is left for their content."""
        for depth, container in enumerate(self._open[1:], 1):
            if container.kind == "quote":
                quote = markup.QUOTE.match(rest)
                if quote is None:
                    return depth, rest
                rest = rest[quote.end() :]
            elif not rest.strip(" \t"):
                if container.empty:
                    return depth, rest
                rest = rest[container.width :]
            elif rest[: container.width].strip(" "):
                return depth, rest
            else:
                rest = rest[container.width :]
        return len(self._open), rest

    def _code(self, piece: str, rest: str, newline: str, whole: bool) -> bool:
        """Take the line as code; false where it ends an indented block."""
        leaf = self._leaf
        assert leaf is not None
        if not leaf.fence:
            if rest.strip(" \t") and not rest.startswith("    "):
                return False
            self._add(piece, rest[4:] + newline)
            return True
        close = re.match(rf" {{0,3}}{leaf.fence[0]}{{{len(leaf.fence)},}}[ \t]*$", rest)
        if close and whole:
            self._sources.append(piece)
            self._close_leaf()
            return True
        margin = min(leaf.indent, len(rest) - len(rest.lstrip(" ")))
        self._add(piece, rest[margin:] + newline)
        return True

    def _blank(self, depth: int, piece: str) -> None:
        self._close_leaf()
        self._close_to(depth)
        self._sources.append(piece)
        self._gap = True

    def _leaf_line(self, depth: int, piece: str, rest: str, *, whole: bool, same: bool) -> bool:
        """Take the line as an underline, a rule, a heading, a fence or a table's delimiters."""
        leaf = self._leaf
        if same and leaf is not None and whole:
            underline = markup.UNDERLINE.match(rest)
            if leaf.newest_is_line and markup.is_table_head(leaf.pieces[-1], rest):
                self._begin_table(leaf, piece, rest)
                return True
            if underline:
                leaf.kind, leaf.level = "heading", 1 if underline[1][0] == "=" else 2
                self._sources.append(piece)
                self._close_leaf()
                return True
        if whole and markup.RULE.match(rest):
            self._begin(depth, _Leaf("rule"))
            self._add(piece, "")
            self._close_leaf()
            return True
        if heading := markup.HEADING.match(rest):
            self._begin(depth, _Leaf("heading", level=len(heading[1])))
            content = heading[2] or ""
            self._add(piece, markup.CLOSING_HASHES.sub("", content) if whole else content)
            if whole:
                self._close_leaf()
            return True
        if fence := markup.FENCE.match(rest):
            marks, info = fence[2], fence[3].strip()
            self._begin(depth, _Leaf("code", fence=marks, indent=len(fence[1])))
            assert self._leaf is not None
            self._leaf.info, self._leaf.opening = info, not whole
            self._sources.append(piece)
            return True
        return False

    def _item(self, rest: str, *, interrupts: bool) -> _Open | None:
        """The list item that the line begins; not each can interrupt a paragraph (CommonMark)."""
        match = markup.ITEM.match(rest)
        if match is None or len(self._open) > DEEPEST:
            return None
        blank = not rest[match.end() :].strip()
        if interrupts and (blank or match[3] not in (None, "1")):
            return None
        spaces = len(match[4])
        padding = spaces if 1 <= spaces <= 4 and not blank else 1
        width = len(match[1]) + len(match[2]) + padding
        kind = "bullet" if match[3] is None else "ordered"
        return _Open(kind, width, int(match[3] or 0), list_mark=match[2][-1])

    def _text(self, depth: int, piece: str, content: str, *, whole: bool) -> None:
        """A line of a paragraph (also one that lacks its markers: a lazy one), or a table's row."""
        leaf = self._leaf
        if leaf is not None and leaf.kind == "paragraph":
            self._add(piece, content)
            return
        if leaf is not None and leaf.kind == "table" and depth == len(self._open) and whole:
            self._add(piece, content)
            return
        self._begin(depth, _Leaf("paragraph"))
        self._add(piece, content)

    # Tables

    def _begin_table(self, paragraph: _Leaf, piece: str, rest: str) -> None:
        if len(paragraph.pieces) > 1 or paragraph.continued:
            self._give(paragraph, len(paragraph.pieces) - 1)
            paragraph.gap = False
        table = _Leaf("table", paragraph.gap, pieces=paragraph.pieces[-1:])
        self._leaf = table
        self._add(piece, rest.strip(" \t") + "\n")

    # Opening, closing, giving out

    def _enter(self, depth: int, container: _Open) -> None:
        """Open a list item or a quote inside the first `depth` containers."""
        self._close_to(depth)
        parent = self._open[-1]
        parent.empty = False
        if container.kind == "quote":
            parent.list_mark = ""
        else:
            mark, container.list_mark = container.list_mark, ""
            if parent.list_mark == mark:
                container.number = parent.next_number
            parent.list_mark, parent.next_number = mark, container.number + 1
        self._open.append(container)

    def _begin(self, depth: int, leaf: _Leaf) -> None:
        self._close_to(depth)
        leaf.gap, self._gap = self._gap, False
        self._open[-1].empty = False
        self._open[-1].list_mark = ""
        self._leaf = leaf

    def _add(self, piece: str, content: str) -> None:
        assert self._leaf is not None
        self._sources.append(piece)
        self._leaf.pieces.append(content)
        self._leaf.newest_is_line = content.endswith("\n")
        self._give_part()

    def _close_to(self, depth: int) -> None:
        """Close all but the first `depth` containers, with the leaf in them."""
        self._close_leaf()
        while len(self._open) > depth:
            if not self._open[-1].drawn and self._open[-1].empty:
                self._give(_Leaf("empty"), 0)
            self._open.pop()

    def _close_leaf(self) -> None:
        leaf, self._leaf = self._leaf, None
        if leaf is None:
            return
        blank_lines = 0
        while (
            leaf.kind == "code" and not leaf.fence and leaf.pieces and not leaf.pieces[-1].strip()
        ):
            # Blank lines behind indented code are none of it.
            leaf.pieces.pop()
            blank_lines += 1
        self._give(leaf, len(leaf.pieces), later=blank_lines)
        self._gap = self._gap or blank_lines > 0

    def _give_part(self) -> None:
        """Give out the front of a leaf that has grown long."""
        leaf = self._leaf
        if leaf is None or leaf.kind in ("rule", "empty"):
            return
        size = sum(map(len, leaf.pieces))
        count = 0
        if leaf.kind == "code":
            lines = sum(piece.endswith("\n") for piece in leaf.pieces)
            if lines >= _CODE_LINES or size >= _CODE_CHARS:
                count = len(leaf.pieces)
        elif leaf.kind == "table":
            if len(leaf.pieces) >= _TABLE_ROWS + 2 or size >= _TABLE_CHARS:
                count = len(leaf.pieces)
        elif size >= max(_PROSE[0], leaf.next_cut):
            count = _prose_cut(leaf.pieces, size)
            leaf.next_cut = 0 if count else size + _PROSE[0] // 2
        if count:
            self._give(leaf, count, ends=False)

    def _give(self, leaf: _Leaf, count: int, *, ends: bool = True, later: int = 0) -> None:
        """Give out the first `count` pieces of `leaf`; `later` newest sources stay for the next."""
        content = leaf.head + "".join(leaf.pieces[:count])
        kept = len(leaf.pieces) - count + later
        end = len(self._sources) - kept
        if leaf.kind == "table" and not ends and not leaf.head:
            leaf.head = "".join(leaf.pieces[:2])
        text = "".join(self._sources[:end])
        del self._sources[:end], leaf.pieces[:count]
        self._done.append(
            Block(
                kind=leaf.kind,
                text=text,
                content=content,
                path=self._path(),
                level=leaf.level,
                info=leaf.info,
                gap=leaf.gap,
                continued=leaf.continued,
                ends=ends,
            )
        )
        leaf.continued, leaf.gap = True, False

    def _path(self) -> tuple[Container, ...]:
        """The open containers, whose marks are from now on drawn."""
        path: list[Container] = []
        for container in self._open[1:]:
            if container.kind != "document":
                path.append(Container(container.kind, container.number, not container.drawn))
            container.drawn = True
        return tuple(path)


def _prose_cut(pieces: list[str], size: int) -> int:
    """How many pieces of a long paragraph can be given out."""
    last = len(pieces) - pieces[-1].endswith("\n")
    if size >= _PROSE[-1]:
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
