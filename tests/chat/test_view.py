"""What stands on the screen and above it while a reply comes, and after it."""

from __future__ import annotations

import io
import os
import random
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from tests.chat.screens import Terminal
from tests.chat.test_blocks import ANY_TEXT, DOCUMENTS, LONG

from zephyrctl import terminal
from zephyrctl.chat.inline import inline
from zephyrctl.chat.screen import reflows
from zephyrctl.chat.tables import Columns, fitted
from zephyrctl.chat.view import BlockView, Drawing, LiveView, PlainView, open_view

HOSTILE = (
    "a[/INST] [link=http://evil]x[/link] <script>alert(1)</script> <b>bold</b>\n\n"
    "\x1b]52;c;aGk=\x07\x1b]8;;http://evil\x1b\\click\x1b]8;;\x1b\\ \x1b[2Jclear \x9b31mred "
    "\u202eabc &#x202e;def &#27;[31m &#155;31m `\x1b[31m` \u2067x\r\n"
    "```\x1b]0;title\x07\n\x1b[1mcode\x1b[0m\n```\n| \x1b[7ma | b |\n|--|--|\n| &#x2067;c | d |\n"
)


def drawing_on(screen: Terminal, *, live: bool = True) -> Drawing:
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=80)
    return Drawing(console, size=screen.size, write=screen.write, live=live)


def drawn(text: str, width: int = 80) -> str:
    """The rows of the whole reply, drawn at once."""
    screen = Terminal(width, 24)
    drawing = drawing_on(screen, live=False)
    drawing.feed(text)
    drawing.close()
    return screen.text


def streamed(text: str, screen: Terminal, cuts: list[int]) -> str:
    """The same, with a frame after each piece."""
    drawing = drawing_on(screen)
    bounds = sorted(cut % (len(text) + 1) for cut in cuts)
    for start, end in zip([0, *bounds], [*bounds, len(text)], strict=True):
        drawing.feed(text[start:end])
        drawing.frame()
    drawing.close()
    return screen.text


@settings(max_examples=120, deadline=None)
@given(
    st.one_of(DOCUMENTS, ANY_TEXT),
    st.lists(st.integers(0, 999), max_size=8),
    st.sampled_from([20, 40, 80, 200]),
    st.sampled_from([4, 24]),
)
def test_frames_leave_what_drawing_at_once_leaves(
    text: str, cuts: list[int], width: int, height: int
) -> None:
    assert streamed(text, Terminal(width, height), cuts) == drawn(text, width)


@pytest.mark.parametrize("width", [20, 80])
@pytest.mark.parametrize("name", LONG)
def test_long_replies_come_out_whole(name: str, width: int) -> None:
    text = LONG[name]
    whole = drawn(text, width)
    assert streamed(text, Terminal(width, 24), list(range(0, len(text), 251))) == whole
    assert max(map(cell_len, whole.split("\n"))) <= width


def numbered(count: int) -> str:
    """A reply each word of which occurs once."""
    words = [f"w{number}" for number in range(count)]
    third = count // 3
    prose, code = " ".join(words[:third]), "\n".join(words[third : 2 * third])
    items = "\n".join(f"- {word} **x{word}**" for word in words[2 * third :])
    return f"{prose}\n\n```\n{code}\n```\n\n{items}\n"


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.tuples(st.integers(20, 200), st.integers(8, 50)), min_size=1, max_size=5),
    st.randoms(use_true_random=False),
)
def test_a_resize_neither_doubles_nor_loses_a_word(
    sizes: list[tuple[int, int]], source: random.Random
) -> None:
    text = numbered(240)
    screen = Terminal(*sizes[0])
    drawing = drawing_on(screen)
    for start in range(0, len(text), 40):
        if source.random() < 0.2:
            width, height = source.choice(sizes)
            # Not beyond the half at once: rows that leave the screen cannot be taken back.
            screen.resize(max(width, (screen.width + 1) // 2), max(height, screen.height // 2 + 1))
        drawing.feed(text[start : start + 40])
        drawing.frame()
    drawing.close()
    found = re.findall(r"\bx?w\d+", screen.text)
    assert found == re.findall(r"\bx?w\d+", text)


def test_a_terminal_that_cuts_lines_off_is_resized_too() -> None:
    text = "\n".join(f"- w{number}" for number in range(200))
    screen = Terminal(100, 30, reflows=False)
    drawing = drawing_on(screen)
    drawing._screen.reflows = False
    for start in range(0, len(text), 9):
        screen.resize(30 + start % 70, 30)
        drawing.feed(text[start : start + 9])
        drawing.frame()
    drawing.close()
    assert re.findall(r"\bw\d+", screen.text) == re.findall(r"\bw\d+", text)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"TERM": "xterm-256color"}, True),
        ({"TERM": "xterm", "XTERM_VERSION": "XTerm(390)"}, False),
        ({"TERM": "screen", "XTERM_VERSION": "XTerm(390)", "TMUX": "/tmp/x,1,0"}, True),
        ({"TERM": "screen", "STY": "1.pts"}, False),
        ({"TERM": "linux"}, False),
    ],
)
def test_terminals_that_wrap_anew_are_known(environment: dict[str, str], expected: bool) -> None:
    assert reflows(environment) is expected


def test_an_unchanged_tail_is_not_drawn_again() -> None:
    screen = Terminal()
    drawing = drawing_on(screen)
    drawing.feed("some words")
    drawing.frame()
    drawing.frame()
    assert screen.frames == 1
    screen.resize(40, 24)
    drawing.frame()
    assert screen.frames == 2


def test_only_the_last_rows_of_a_tall_tail_are_live() -> None:
    screen = Terminal(20, 10)
    drawing = drawing_on(screen)
    drawing.feed("word " * 60)
    drawing.frame()
    assert len(screen.lines) - 1 == 5
    drawing.close()
    assert screen.text.split() == ["word"] * 60


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_hostile_text_is_shown_as_text(step: int) -> None:
    screen = Terminal(100, 24)  # which fails on any sequence that is not the drawing's own
    shown = streamed(HOSTILE, screen, list(range(0, len(HOSTILE), step)))
    for text in ("a[/INST]", "[link=http://evil]x[/link]", "<script>alert(1)</script>", "<b>bold"):
        assert text in shown
    assert "click clear red abc def" in shown
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)
    assert "52;c" not in shown and "title" not in shown  # noqa: PT018


def test_links_show_their_target_and_are_none_of_the_terminal() -> None:
    text = inline('[text](http://a.b/c?d "t") <http://auto> ![alt](http://img) [x](javascript:y)')
    assert text.plain == (
        'text (http://a.b/c?d "t") http://auto alt (http://img) [x](javascript:y)'
    )
    assert not any(getattr(span.style, "link", None) for span in text.spans)


def test_the_end_of_a_link_is_not_reversed_by_what_its_address_holds() -> None:
    assert inline("[x](http://a/\u202e&#x202e;b)").plain == "x (http://a/%E2%80%AE%E2%80%AEb)"


def test_a_reply_looks_as_expected() -> None:
    text = (
        "# Title\nSome **bold** text\nand more.\n\n3. three\n   - nested\n3. four\n\n> quote\n>\n"
        "> - item\n\n```py\n\tx = 1\n\n\ty = 2\n```\n|a|b|\n|-|-:|\n|1|2|\n|3|4|5|\n***\nend"
    )
    assert drawn(text, 24).split("\n") == [
        "Title",
        "",
        "Some bold text and more.",
        "",
        " 3. three",
        "     • nested",
        " 4. four",
        "",
        "▌ quote",
        "▌",
        "▌  • item",
        "",
        "      x = 1",
        "",
        "      y = 2",
        "",
        "a       b",
        "─────────",
        "1       2",
        "3   4 | 5",
        "",
        "─" * 24,
        "",
        "end",
        "",
    ]  # fmt: skip


def test_a_table_without_room_is_shown_as_it_was_written() -> None:
    row = "|" + "cell|" * 8
    shown = drawn(f"{row}\n{'|-' * 8}|\n{row}\n", 20)
    assert shown.replace("\n", "") == row + "|-" * 8 + "|" + row


@pytest.mark.parametrize(
    ("natural", "words", "room", "expected"),
    [
        ((3, 5), (3, 5), 20, [3, 5]),
        ((3, 50, 40), (3, 6, 6), 43, [3, 20, 20]),
        ((9, 9), (9, 9), 10, [5, 5]),
        ((20, 52), (20, 16), 37, [20, 17]),
        ((60, 60), (60, 3), 40, [20, 20]),
    ],
)
def test_wide_columns_share_what_narrow_ones_leave(
    natural: tuple[int, ...], words: tuple[int, ...], room: int, expected: list[int]
) -> None:
    assert fitted(Columns(natural, words), room) == expected


def test_no_word_of_a_table_is_broken_where_there_is_room_for_it() -> None:
    shown = drawn("|name|what it is|\n|-|-|\n|interoperable|a long text of words|\n", 30)
    assert "interoperable" in shown


def test_rows_far_below_stand_under_their_header() -> None:
    rows = "".join(f"| {n} | word{n} |\n" for n in range(90))
    lines = drawn(f"| n | name |\n|---|---|\n{rows}").split("\n")
    assert len(lines) == 93  # header, rule, rows, and the cursor's
    assert {line.index("word") for line in lines[2:-1]} == {lines[0].index("name")}


def test_wide_characters_and_emoji_keep_to_the_width() -> None:
    for width in range(20, 30):
        shown = drawn("你好世界" * 20 + " 👩‍👩‍👧 😀" * 20 + "\n\n- " + "한국어 " * 20, width)
        assert all(cell_len(line) <= width for line in shown.split("\n"))


def test_a_docstring_keeps_its_colour_over_many_parts() -> None:
    written: list[str] = []
    console = Console(file=io.StringIO(), force_terminal=True, color_system="standard")
    drawing = Drawing(
        console, size=lambda: os.terminal_size((80, 24)), write=written.append, live=False
    )
    body = "".join(f"    return {n}\n" for n in range(60))
    drawing.feed(f'```python\ndef f():\n    """\n{body}    """\n    return 1\n```\n')
    drawing.close()
    lines = "".join(written).split("\n")
    inside, after = lines[40], lines[-2]
    assert inside.split("return")[0].strip() != after.split("return")[0].strip()
    assert "\x1b[94mreturn" in after
    assert "\x1b[94m" not in inside


def test_plain_is_the_text_without_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    view = open_view("plain", label="A")
    for character in "**bold** \x1b[31m[/INST]\n":
        view.feed(character)
    view.close()
    view.close()
    assert capsys.readouterr().out == "A\n**bold** [/INST]\n\n"


@pytest.mark.parametrize(("render", "kind"), [("auto", PlainView), ("markdown", BlockView)])
def test_nothing_is_drawn_twice_where_stdout_is_no_terminal(
    capsys: pytest.CaptureFixture[str], render: str, kind: type
) -> None:
    view = open_view(render)  # pyright: ignore[reportArgumentType]
    assert type(view) is kind
    view.feed("some *text*\n\nand `more")
    view.feed("` of it")
    view.close()
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert out.split() == ("some text and more of it" if kind is BlockView else
                           "some *text* and `more` of it").split()  # fmt: skip


class TerminalAsStdout:
    """From now on stdout is a terminal; a call closes it and returns what came.

    No fixture: pytest captures stdout anew between a fixture and its test.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._master, slave = os.openpty()
        self._stdout = os.fdopen(slave, "w", encoding="utf-8")
        self._chunks: list[bytes] = []
        self._reader = threading.Thread(target=self._drain, daemon=True)
        self._reader.start()
        monkeypatch.setattr(sys, "stdout", self._stdout)
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.delenv("NO_COLOR", raising=False)

    def _drain(self) -> None:
        while True:
            try:
                self._chunks.append(os.read(self._master, 65536))
            except OSError:  # the other end is closed
                return

    def so_far(self) -> str:
        return b"".join(self._chunks).decode(errors="replace").replace("\r\n", "\n")

    def __call__(self) -> str:
        self._stdout.close()
        self._reader.join()
        os.close(self._master)
        return self.so_far()


def wait_until(is_so: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_on_a_terminal_the_tail_is_live(monkeypatch: pytest.MonkeyPatch) -> None:
    came = TerminalAsStdout(monkeypatch)
    view = open_view("auto", label="A")
    assert isinstance(view, LiveView)
    for piece in ("# Ti", "tle\n\nsome **bo", "ld** words"):
        view.feed(piece)
    view.close()
    view.close()
    shown = came()
    screen = Terminal()
    screen.write(shown)
    assert screen.text == "A\nTitle\n\nsome bold words\n"
    assert "\x1b[1mbold\x1b[0m" in shown
    assert "\x1b[?25" not in shown  # the cursor is never hidden, so it need not come back


def test_after_being_stopped_the_tail_is_drawn_below_what_the_shell_wrote(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = signal.getsignal(signal.SIGCONT)
    came = TerminalAsStdout(monkeypatch)
    view = open_view("auto")
    view.feed("the tail")
    wait_until(lambda: "the tail" in came.so_far())
    terminal.out("$ fg")
    os.kill(os.getpid(), signal.SIGCONT)
    wait_until(lambda: came.so_far().count("the tail") == 2)
    view.feed(" of it")
    view.close()
    screen = Terminal()
    screen.write(came())
    assert screen.text == "the tail\n$ fg\nthe tail of it\n"
    assert signal.getsignal(signal.SIGCONT) == before


def test_no_color_keeps_bold_and_drops_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    came = TerminalAsStdout(monkeypatch)
    monkeypatch.setenv("NO_COLOR", "1")
    view = open_view("auto")
    view.feed("**bold** and `code`")
    view.close()
    shown = came()
    assert "\x1b[1mbold" in shown
    assert not re.search(r"\x1b\[[\d;]*(3\d|4\d|9\d)m", shown)


def test_a_dumb_terminal_gets_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    came = TerminalAsStdout(monkeypatch)
    monkeypatch.setenv("TERM", "dumb")
    view = open_view("auto")
    assert isinstance(view, PlainView)
    view.feed("**bold**")
    view.close()
    assert came() == "**bold**\n"


def test_a_dumb_terminal_breaks_at_words_and_plain_is_the_very_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = "interoperable words " * 8
    shown = {}
    renders: tuple[Literal["auto", "plain"], ...] = ("auto", "plain")
    for render in renders:
        came = TerminalAsStdout(monkeypatch)
        monkeypatch.setenv("TERM", "dumb")
        view = open_view(render)
        view.feed(text)
        view.close()
        shown[render] = came()
    assert max(map(len, shown["auto"].split("\n"))) <= 80
    assert shown["auto"].split() == text.split()
    assert shown["plain"] == text + "\n"


def test_an_error_of_the_drawing_reaches_who_feeds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    came = TerminalAsStdout(monkeypatch)

    def full(text: str, *, end: str = "\n") -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(terminal, "out_styled", full)
    view = open_view("auto")
    view.feed("words")
    with pytest.raises(OSError, match="No space"):
        view.close()
    view.close()
    came()


def test_words_are_lost_nowhere(tmp_path: Path) -> None:
    """The project's own README, which was written for people."""
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"[^\w\s#>`|:.-]", "", text)
    shown = drawn(text, 120)

    def words(of: str) -> list[str]:
        return sorted(re.findall(r"[a-zA-Z]{3,}", of))

    fences = re.findall(r"^```(\w+)", text, re.M)
    assert sorted([*words(shown), *fences]) == words(text)


def test_our_own_signs_have_a_plain_form_for_narrow_encodings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stdout)
    view = open_view("markdown")
    view.feed("- item 你\n\n> quote\n")
    view.close()
    stdout.seek(0)
    assert stdout.read() == " * item ?\n\n| quote\n"


@pytest.mark.parametrize("render", ["markdown", "plain"])
def test_a_label_for_a_reader_who_left_is_no_error(
    render: Literal["markdown", "plain"], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as gone:
        monkeypatch.setattr("sys.stdout", gone)
        view = open_view(render, label="A tiny/dpo")
        view.feed("# Heading\n\ntext\n")
        view.close()
