"""Blocks of a growing text: the same for any cutting, none lost, and those of a Markdown parser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

from zephyrctl.chat.blocks import Splitter
from zephyrctl.chat.markup import Block, cells_of

LINES = [
    "", "", "", "   ", "some prose", "more *prose* here", "  indented prose", "    four spaces",
    "        eight", "# Heading", "## Heading ##", "#no heading", "---", "===", "* * *", "___",
    "```", "```python", "~~~", "````", "    ```", "code()", "- item", "- item two", "* star", "+",
    "-", "1. one", "2. two", "7) seven", "1.", "  - nested", "   - three in", "    - four in",
    "      deep", "> quote", ">", "> - item in quote", "> > twice", "> ```", ">> lazy", "- > quote",
    "- # heading", "- ```", "  ```", "| a | b |", "|---|---|", "| 1 | 2 |", "a | b", "--|--", "x",
    "  | a | b |", "  |:--|--:|", "  | 1 | 2 |", "- - both", "-     code", "1. - mixed", "\ttab",
    "-\ttab item", ">\tquote tab", "<b>html</b>", "[a]: http://b", "text\\", "[/INST] text", "*",
]  # fmt: skip

DOCUMENTS = st.lists(st.sampled_from(LINES), max_size=24).map("\n".join)
ANY_TEXT = st.text(alphabet="ab \n\n\t-*>#`|1.=~_[]()\\中👩\u200d", max_size=300)


Leaf = tuple[object, ...]


def blocks_of(text: str, cuts: list[int] | None = None) -> list[Block]:
    splitter, blocks = Splitter(), []
    bounds = [0, *sorted(cut % (len(text) + 1) for cut in cuts or []), len(text)]
    for start, end in pairwise(bounds):
        blocks += splitter.feed(text[start:end])
    return blocks + splitter.close()


def parsed(text: str) -> list[Leaf]:
    """The leaves as markdown-it sees them: containers, kind, content."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable("reference")
    return list(_leaves(SyntaxTreeNode(parser.parse(text)), ()))


def _leaves(node: SyntaxTreeNode, path: tuple[object, ...]) -> Iterator[Leaf]:
    if node.type in ("blockquote", "list_item") and not node.children:
        yield path, "empty", ""
    for place, child in enumerate(node.children):
        if child.type in ("paragraph", "heading"):
            kind = child.tag if child.type == "heading" else "paragraph"
            yield path, kind, child.children[0].content
        elif child.type in ("fence", "code_block"):
            yield path, "code", child.content.rstrip("\n"), child.info.strip()
        elif child.type == "hr":
            yield path, "rule", ""
        elif child.type == "table":
            cells = [part.content for part in child.walk() if part.type == "inline"]
            yield path, "table", tuple(cells)
        elif child.type == "blockquote":
            yield from _leaves(child, (*path, "quote"))
        elif child.type == "list_item":
            number = int(node.attrs.get("start", 1)) + place
            mark = number if node.type == "ordered_list" else "bullet"
            yield from _leaves(child, (*path, mark))
        else:
            yield from _leaves(child, path)


def drawn(text: str) -> list[Leaf]:
    """Our leaves in the form of `parsed`; for texts whose prose is too short for parts."""
    leaves: list[Leaf] = []
    for block in blocks_of(text):
        path = tuple(c.number if c.kind == "ordered" else c.kind for c in block.path)
        if block.kind == "empty":
            leaves += [(path, "empty", "")] if path else []
        elif block.kind == "heading":
            leaves.append((path, f"h{block.level}", block.content))
        elif block.kind == "code" and block.continued:
            *rest, code, info = leaves[-1]
            leaves[-1] = (*rest, f"{code}{block.content}", info)
        elif block.kind == "code":
            leaves.append((path, "code", block.content, block.info))
        elif block.kind == "table":
            header, _, *rows = block.content.splitlines()
            count = len(cells_of(header))
            cells = [(cells_of(line) + [""] * count)[:count] for line in (header, *rows)]
            leaves.append((path, "table", tuple(cell for row in cells for cell in row)))
        else:
            leaves.append((path, block.kind, block.content))
    return leaves


def plain(leaves: list[Leaf]) -> list[Leaf]:
    """Without differences that nobody sees: tabs, and spaces around lines of prose."""
    return [
        (path, kind, *[_seen(part, kind) if isinstance(part, str) else part for part in rest])
        for path, kind, *rest in leaves
    ]


def _seen(text: str, kind: object) -> str:
    lines = [line.expandtabs(4).rstrip() for line in text.split("\n")]
    return "\n".join(lines if kind == "code" else map(str.strip, lines)).rstrip("\n")


@settings(max_examples=200, deadline=None)
@given(DOCUMENTS)
@example("- a\n\n  b\n- c\n1. d\n\n   ```\n   e\n\n   f\n2. g")
@example("a | b\n--|--\n1 | 2 | 3\n| 4\n- item")
def test_blocks_are_those_of_a_markdown_parser(text: str) -> None:
    # markdown-it ends the paragraph of a twofold quote at an indented line; CommonMark does not
    # ("Laziness", example 238), nor do we. And it keeps a tab behind `>` in code.
    assume(not (re.search(r"^> ?>", text, re.M) and re.search(r"^ {4}", text, re.M)))
    assume(not re.search(r"^>\t", text, re.M))
    assert plain(drawn(text)) == plain(parsed(text))


@settings(max_examples=120, deadline=None)
@given(st.one_of(DOCUMENTS, ANY_TEXT), st.lists(st.integers(0, 2000), max_size=12))
@example("a\r\n\r\n- b\r\n", [2, 3])
def test_any_cutting_gives_the_same_blocks_and_they_join_to_the_text(
    text: str, cuts: list[int]
) -> None:
    blocks = blocks_of(text)
    assert "".join(block.text for block in blocks) == text
    assert blocks_of(text, cuts) == blocks
    shown = "".join(block.content + block.info for block in blocks)
    assert all(shown.count(letter) >= text.count(letter) for letter in "abx中")


LONG = {
    "prose": "Some words that *lean* and `code a b` in [a link](http://b/c d). " * 90,
    "unclosed mark": "A **mark that never ends, and words behind it. " * 120,
    "lines": "**one** line\nand *another one*\n" * 120,
    "no spaces": "x" * 9000 + "\nend",
    "ideographs": "你好世界，这是一个很长的段落。" * 200,
    "code": "```python\n" + "print('a line of code')\n" * 200 + "```\nend\n",
    "code line": "```\n" + "y" * 9000 + "\nz\n",
    "indented code": "    four\n\n" * 60 + "end",
    "table": "|a|b|\n|-|-|\n" + "| cell | other |\n" * 200 + "\nend\n",
    "table row": "|a|b|\n|-|-|\n| " + "cell " * 2500 + "|\nend\n",
    "list": "".join(f"{n}. item\n   - nested `x`\n" for n in range(1, 200)),
    "long item": "- " + "words in *an* item. " * 300 + "\n  - nested\n",
    "heading": "# " + "title " * 900 + "\ntext\n",
    "quote": "> " + "words in a quote, and " * 200 + "\n",
    "nested too deep": "> " * 400 + "- " * 400 + "text\n",
}


@pytest.mark.parametrize("name", LONG)
def test_long_leaves_are_given_out_in_parts(name: str) -> None:
    text = LONG[name]
    blocks = blocks_of(text)
    assert max(len(block.text) for block in blocks) <= 8200
    assert "".join(block.text for block in blocks) == text
    assert len(blocks) > 1 or name == "nested too deep"
    for step in (1, 7, 613):
        assert blocks_of(text, list(range(0, len(text), step))) == blocks
    splitter = Splitter()
    for start in range(0, len(text), 50):
        splitter.feed(text[start : start + 50])
        assert sum(len(block.text) for block in splitter.preview()) <= 8300


@pytest.mark.parametrize("name", ["prose", "lines", "long item"])
def test_no_part_of_a_paragraph_ends_inside_a_mark(name: str) -> None:
    parts = [block for block in blocks_of(LONG[name]) if block.kind == "paragraph"]
    for part in parts:
        assert part.content.count("*") % 2 == part.content.count("`") % 2 == 0
        assert part.content.count("[") == part.content.count(")")


def test_parts_know_that_they_go_on() -> None:
    parts = [block for block in blocks_of(LONG["table"]) if block.kind == "table"]
    assert [part.continued for part in parts] == [False] + [True] * (len(parts) - 1)
    assert [part.ends for part in parts] == [False] * (len(parts) - 1) + [True]
    assert all(part.content.startswith("|a|b|\n|-|-|\n") for part in parts)
    assert sum(len(part.content.splitlines()) - 2 for part in parts) == 200


def test_a_paragraph_can_still_become_a_table_or_a_heading_after_many_lines() -> None:
    text = "prose of a line\n" * 100 + "| a | b |\n|---|---|\n| 1 | 2 |\n"
    *_, prose, table = blocks_of(text)
    assert (prose.kind, table.kind) == ("paragraph", "table")
    assert table.content == "| a | b |\n|---|---|\n| 1 | 2 |\n"


def test_the_preview_is_what_closing_would_give_and_changes_nothing() -> None:
    text = "- one\n- two *and*\n\n```py\ncode()\n"
    splitter = Splitter()
    splitter.feed(text)
    assert splitter.preview() == splitter.preview() == splitter.close()


@pytest.mark.parametrize("marks", ["-", "---", "1.", "> ", "``", "#", "|--", " * "])
def test_an_unfinished_line_of_marks_is_not_shown_yet(marks: str) -> None:
    splitter = Splitter()
    splitter.feed(f"text\n{marks}")
    (shown,) = splitter.preview()
    assert (shown.kind, shown.content) == ("paragraph", "text\n")
    assert "".join(block.text for block in splitter.close()) == f"text\n{marks}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("some **bold", "some **bold**"),
        ("**bold and `code ", "**bold and `code`**"),
        ("a *b", "a *b"),
        ("5 ** 3", "5 ** 3"),
        ("`**` and `code`", "`**` and `code`"),
    ],
)
def test_open_bold_and_code_look_closed_meanwhile(text: str, shown: str) -> None:
    splitter = Splitter()
    splitter.feed(text)
    assert [block.content for block in splitter.preview()] == [shown]
    assert [block.content for block in splitter.close()] == [text]


def test_an_open_fence_is_code_to_the_end() -> None:
    *_, code = blocks_of("text\n```python info\n# no heading\n- no item")
    assert (code.kind, code.info, code.content) == (
        "code", "python info", "# no heading\n- no item"
    )  # fmt: skip


def test_items_are_counted_on_from_the_first_number() -> None:
    numbers = [block.path[0].number for block in blocks_of("3. a\n3. b\n\n7. c\n")[:3]]
    assert numbers == [3, 4, 5]


def test_only_the_first_leaf_of_an_item_is_fresh() -> None:
    first, second, nested = blocks_of("- one\n\n  two\n  - three\n")
    assert [[c.fresh for c in b.path] for b in (first, second, nested)] == [
        [True], [False], [False, True]
    ]  # fmt: skip
    assert [b.gap for b in (first, second, nested)] == [False, True, False]


@pytest.mark.parametrize("before", ["", "text\n", "- ", "> ", "- a\n", "|a|b|\n|-|-|\n", "1. "])
@pytest.mark.parametrize("blank", [" " * 700, " " * 9000, "\t" * 700])
def test_nothing_hides_behind_a_long_blank_in_its_line(before: str, blank: str) -> None:
    text = f"{before}{blank}hidden words\nafter\n"
    blocks = blocks_of(text)
    assert "hidden words" in " ".join(block.content for block in blocks)
    assert "".join(block.text for block in blocks) == text
    assert blocks_of(text, list(range(0, len(text), 611))) == blocks
