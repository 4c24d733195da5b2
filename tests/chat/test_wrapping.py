"""What a chat says on a narrow terminal."""

from __future__ import annotations

import pytest

from zephyrctl.chat import wrapping
from zephyrctl.chat.wrapping import say_wrapped


def test_further_lines_begin_below_the_first_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(wrapping, "columns_of", lambda stream: 24)
    say_wrapped("one two three 你好 four five", head="! ")
    assert capsys.readouterr().err == "! one two three 你好\n  four five\n"


def test_off_a_terminal_a_line_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    say_wrapped("word " * 60, head="! ")
    assert capsys.readouterr().err == "! " + "word " * 60 + "\n"
