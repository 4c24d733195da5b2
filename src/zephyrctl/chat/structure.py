"""What does a line of Markdown open, go on with, or close?

The grammar is CommonMark's block structure with GFM's tables, without HTML, link definitions and
lists nested deeper than 20.
"""

from __future__ import annotations

import re

from zephyrctl.chat import markup
from zephyrctl.chat.leaves import Leaf, Open, item_of, part_of
from zephyrctl.chat.markup import Block, BlockKind, Container

DEEPEST = 20


class Structure:
    """The containers and the leaf that are open, and the blocks that were finished."""

    def __init__(self) -> None:
        self.inside_line = False
        """Whether the newest piece did not end its line."""
        self._open = [Open("document")]
        self._leaf: Leaf | None = None
        self._sources: list[str] = []
        self._gap = False
        self._done: list[Block] = []

    @property
    def kind(self) -> BlockKind | None:
        """Of the open leaf."""
        return self._leaf.kind if self._leaf else None

    def take(self, piece: str, *, whole: bool) -> None:
        """Read a line, or a stretch of a long one; `whole` where the line ends with it."""
        if self.inside_line and self._leaf is not None:
            self._go_on(self._leaf, piece, whole=whole)
        else:  # also where all before in its line was blank, however much it was
            self._line(piece, whole=whole)
        self.inside_line = not whole

    def finished(self) -> list[Block]:
        """The blocks that are finished, each given once."""
        done, self._done = self._done, []
        return done

    def close(self) -> list[Block]:
        """What is still open, because no more text comes."""
        self._close_to(1)
        if self._sources:
            self._give(Leaf("empty"), 0)
        return self.finished()

    # A piece of the text

    def _go_on(self, leaf: Leaf, piece: str, *, whole: bool) -> None:
        """A further stretch of a long line: it belongs to the leaf that the line began."""
        self._sources.append(piece)
        if leaf.opening:
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
                self._begin(depth, Leaf("code", indent=4))
                self._add(piece, rest[4:] + newline)
                return
            if indent >= 4:
                break
            quote = markup.QUOTE.match(rest)
            if quote and len(self._open) <= DEEPEST:
                self._enter(depth, Open("quote"))
                depth, rest = depth + 1, rest[quote.end() :]
            elif self._leaf_line(depth, piece, rest, whole=whole, same=paragraph and in_place):
                return
            elif len(self._open) <= DEEPEST and (
                item := item_of(rest, interrupts=paragraph and in_place)
            ):
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
            self._begin(depth, Leaf("rule"))
            self._add(piece, "")
            self._close_leaf()
            return True
        if heading := markup.HEADING.match(rest):
            self._begin(depth, Leaf("heading", level=len(heading[1])))
            content = heading[2] or ""
            self._add(piece, markup.CLOSING_HASHES.sub("", content) if whole else content)
            if whole:
                self._close_leaf()
            return True
        if fence := markup.FENCE.match(rest):
            marks, info = fence[2], fence[3].strip()
            self._begin(depth, Leaf("code", fence=marks, indent=len(fence[1])))
            assert self._leaf is not None
            self._leaf.info, self._leaf.opening = info, not whole
            self._sources.append(piece)
            return True
        return False

    def _text(self, depth: int, piece: str, content: str, *, whole: bool) -> None:
        """A line of a paragraph (also one that lacks its markers: a lazy one), or a table's row."""
        leaf = self._leaf
        if leaf is not None and leaf.kind == "paragraph":
            self._add(piece, content)
            return
        if leaf is not None and leaf.kind == "table" and depth == len(self._open) and whole:
            self._add(piece, content)
            return
        self._begin(depth, Leaf("paragraph"))
        self._add(piece, content)

    def _begin_table(self, paragraph: Leaf, piece: str, rest: str) -> None:
        if len(paragraph.pieces) > 1 or paragraph.continued:
            self._give(paragraph, len(paragraph.pieces) - 1)
            paragraph.gap = False
        table = Leaf("table", paragraph.gap, pieces=paragraph.pieces[-1:])
        self._leaf = table
        self._add(piece, rest.strip(" \t") + "\n")

    # Opening, closing, giving out

    def _enter(self, depth: int, container: Open) -> None:
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

    def _begin(self, depth: int, leaf: Leaf) -> None:
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
                self._give(Leaf("empty"), 0)
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
        if self._leaf is not None and (count := part_of(self._leaf)):
            self._give(self._leaf, count, ends=False)

    def _give(self, leaf: Leaf, count: int, *, ends: bool = True, later: int = 0) -> None:
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
