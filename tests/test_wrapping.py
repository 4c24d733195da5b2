"""Lines that break between words."""

from __future__ import annotations

import os
import pty
import re
import termios
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from zephyrctl.wrapping import columns_of, wrapped

TEXTS = st.text(alphabet="abc 中한😀\u0301\n.-", max_size=120)


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.integers(2, 60))
def test_nothing_is_lost_and_nothing_is_too_wide(text: str, width: int) -> None:
    lines = wrapped(text, width)
    assert re.sub(r"\s", "", "".join(lines)) == re.sub(r"\s", "", text)
    assert all(cell_len(line) <= width for line in lines)


@settings(max_examples=100, deadline=None)
@given(TEXTS, st.integers(12, 60))
def test_only_a_word_that_has_no_line_of_its_own_is_broken(text: str, width: int) -> None:
    words = [word for line in wrapped(text, width) for word in line.split()]
    assert [w for w in text.split() if cell_len(w) > width] or words == text.split()


def test_a_line_that_fits_stays_as_it_is() -> None:
    assert wrapped("two  words\n\n  and more", 20) == ["two  words", "", "  and more"]
    assert wrapped("", 20) == [""]


def test_what_belongs_together_between_dots_stays_so() -> None:
    assert wrapped("12 tokens · 3.0 tokens/s · first 0.08 s", 30) == [
        "12 tokens · 3.0 tokens/s ·", "first 0.08 s"
    ]  # fmt: skip


def test_the_width_is_that_of_the_terminal() -> None:
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, 37))
    with os.fdopen(slave, "w") as stream:
        assert columns_of(stream) == 37
    os.close(master)
    with Path(os.devnull).open("w") as stream:
        assert columns_of(stream) is None
