"""Plain text on a terminal: broken at words, whatever the pieces."""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from zephyrctl.chat.plain import WordWrap


def wrapped(text: str, width: int, cuts: list[int] | None = None) -> str:
    wrap = WordWrap(lambda: width)
    bounds = [0, *sorted(cut % (len(text) + 1) for cut in cuts or []), len(text)]
    pieces = [wrap.feed(text[start:end]) for start, end in pairwise(bounds)]
    return "".join([*pieces, wrap.close()])


@settings(max_examples=150, deadline=None)
@given(
    st.text(alphabet="abc  \n->1.`*中", max_size=200),
    st.lists(st.integers(0, 999), max_size=8),
    st.integers(8, 40),
)
def test_any_cutting_gives_the_same_lines_and_loses_nothing(
    text: str, cuts: list[int], width: int
) -> None:
    whole = wrapped(text, width)
    assert wrapped(text, width, cuts) == whole
    # Marks of a quote are repeated; all else is there once.
    assert re.sub(r"[\s>]", "", whole) == re.sub(r"[\s>]", "", text)


def test_lines_break_at_words_and_stand_below_their_text() -> None:
    text = (
        "some words of a line\n\n- an item of some words\n  1. one that is nested in it\n"
        "> a quote of some words\n> > and one in it\n"
    )
    assert wrapped(text, 16).split("\n") == [
        "some words of a",
        "line",
        "",
        "- an item of",
        "  some words",
        "  1. one that is",
        "     nested in",
        "     it",
        "> a quote of",
        "> some words",
        "> > and one in",
        "> > it",
        "",
    ]


def test_code_and_wide_characters_are_left_to_the_terminal() -> None:
    text = "```\na line of code that is long\n```\n你好世界你好世界 你好世界\nand so on and on"
    assert wrapped(text, 10) == text.replace("so on and", "so on\nand")


def test_a_word_without_end_does_not_wait_for_it() -> None:
    wrap = WordWrap(lambda: 40)
    assert wrap.feed("x" * 300) == "x" * 300
