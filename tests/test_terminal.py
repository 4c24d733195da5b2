"""Foreign text cannot act on the terminal; data and the rest keep to their streams."""

import io
import itertools
import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zephyrctl import terminal
from zephyrctl.errors import ConfigError, DiskFull, Problem, UsageError

ESCAPES = [
    ("clipboard, BEL", "a\x1b]52;c;cm0gLXJmIC8=\x07b", "ab"),
    ("clipboard, ST", "a\x1b]52;c;cm0gLXJmIC8=\x1b\\b", "ab"),
    ("title", "\x1b]0;owned\x07x", "x"),
    ("hyperlink", "\x1b]8;;http://evil\x1b\\text\x1b]8;;\x1b\\", "text"),
    ("clear screen", "a\x1b[2Jb\x1b[1;31mc\x1b[0m", "abc"),
    ("private mode", "\x1b[?1049hx", "x"),
    ("reset", "\x1bcx", "x"),
    ("character set", "\x1b(0x", "x"),
    ("device control string", "\x1bP1$r0m\x1b\\x", "x"),
    ("C1 CSI", "a\x9b2Jb", "ab"),
    ("C1 OSC", "a\x9d0;t\x9cb", "ab"),
    ("lone C1", "a\x85b\x84c", "abc"),
    ("unclosed OSC loses its introducer only", "a\x1b]0;title\nb", "a0;title\nb"),
    ("lone escape at the end", "a\x1b", "a"),
    ("carriage return", "visible\rhidden\r\n", "visiblehidden\n"),
    ("backspace, bell, null, delete", "a\x08\x07\x00\x7fb", "ab"),
    ("bidi override", "user\u202egnp.exe\u2066x\u2069", "usergnp.exex"),
    ("newline and tab stay", "a\n\tb", "a\n\tb"),
    ("markup is text", "[/INST] [link=http://evil]x[/link] :smile:", None),
    ("other scripts stay", "Zürich 東京 שלום 👩‍👩‍👧 ✓", None),
    ("lone surrogate", "a\ud800b", "a\ufffdb"),
]


@pytest.mark.parametrize(("name", "text", "wanted"), ESCAPES, ids=[row[0] for row in ESCAPES])
def test_escape_sequences_are_removed(name: str, text: str, wanted: str | None) -> None:
    assert terminal.safe(text) == (text if wanted is None else wanted)


def test_a_clipboard_sequence_split_over_chunks_never_shows() -> None:
    stream = terminal.SafeStream()
    shown = [stream.feed(part) for part in ("Hi \x1b", "]5", "2;c;cm0", "=\x1b", "\\ there")]
    assert shown == ["Hi ", "", "", "", " there"]
    assert stream.close() == ""


def test_text_is_not_held_back_behind_an_endless_sequence() -> None:
    stream = terminal.SafeStream()
    shown = stream.feed("\x1b]0;") + "".join(stream.feed("x" * 100) for _ in range(60))
    assert "x" * 1000 in shown
    assert "\x1b" not in shown


def test_a_megabyte_of_openings_is_cleaned_in_linear_time() -> None:
    assert terminal.safe("\x9d" * 1_000_000) == ""


nasty = st.text(alphabet="\x1b[]\\;?0mJ(P^\x07\x9b\x9c\x9d\n\r ab\u202e", max_size=40)


@given(nasty, st.lists(st.integers(0, 40), max_size=6))
def test_cutting_a_stream_anywhere_changes_nothing(text: str, cuts: list[int]) -> None:
    stream = terminal.SafeStream()
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    parts = [text[a:b] for a, b in itertools.pairwise(edges)]
    assert "".join(stream.feed(part) for part in parts) + stream.close() == terminal.safe(text)


@given(nasty)
def test_nothing_a_terminal_acts_on_is_left(text: str) -> None:
    assert not set(terminal.safe(text)) & set("\x1b\x07\x9b\x9c\x9d\r\u202e")


def test_data_goes_to_stdout_and_words_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.out("data \x1b[31m")
    terminal.say("word \x1b]0;t\x07")
    assert tuple(capsys.readouterr()) == ("data \n", "word \n")


def test_json_is_one_ascii_line_without_nan(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.emit_json({"text": "a\n\x9b\u202eü", "loss": float("nan"), "rows": [(1, 2.5)]})
    line = capsys.readouterr().out
    assert line.isascii()
    assert line.count("\n") == 1
    assert json.loads(line) == {"text": "a\n\x9b\u202eü", "loss": None, "rows": [[1, 2.5]]}


def test_one_problem_reads_as_sentence_place_and_hint() -> None:
    error = UsageError("no run here", where="runs/", hint="zephyrctl run --recipe tiny")
    assert terminal.render_error(error) == (
        "error[usage]: no run here\n  --> runs/\n  hint: zephyrctl run --recipe tiny"
    )


def test_all_problems_are_rendered_with_their_number() -> None:
    error = ConfigError.of(
        [
            Problem("unknown key 'a'", "z.yaml:1:1", "did you mean 'b'?"),
            Problem("two\x1b[2J\nlines"),
        ]
    )
    assert terminal.render_error(error).splitlines() == [
        "error[config]: unknown key 'a'",
        "  --> z.yaml:1:1",
        "  hint: did you mean 'b'?",
        "error[config]: two",
        "  lines",
        "2 problems",
    ]


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("mode", "env", "tty", "wanted"),
    [
        ("auto", {}, True, True),
        ("auto", {}, False, False),
        ("auto", {"NO_COLOR": "1"}, True, False),
        ("auto", {"NO_COLOR": ""}, True, True),
        ("auto", {"FORCE_COLOR": "1"}, False, True),
        ("auto", {"TERM": "dumb"}, True, False),
        ("always", {"NO_COLOR": "1"}, False, True),
        ("never", {"FORCE_COLOR": "1"}, True, False),
    ],
)
def test_colour_follows_flag_then_environment_then_terminal(
    monkeypatch: pytest.MonkeyPatch, mode: str, env: dict[str, str], tty: bool, wanted: bool
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(terminal, "_color_mode", mode)
    assert terminal.use_color(Tty() if tty else io.StringIO()) is wanted


def test_a_console_takes_markup_literally(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    terminal.stderr_console().print("[/INST] [red]x[/red] :smile:")
    assert stream.getvalue() == "[/INST] [red]x[/red] :smile:\n"


def test_a_locale_without_our_signs_gets_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(raw, encoding="ascii"))
    terminal.say("✓ sft → done … 東")
    assert raw.getvalue() == b"+ sft -> done ... ?\n"
    assert not terminal.speaks_unicode(sys.stderr)


def _python(code: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload]
        [sys.executable, "-c", code], text=True, capture_output=True, timeout=60, **options
    )


def test_a_reader_who_leaves_does_not_stop_the_job() -> None:
    code = (
        "from zephyrctl.terminal import out, say\n"
        "for i in range(20000): out('x' * 80)\n"
        "say('job done')"
    )
    done = subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -c "$0" | head -1', code],
        text=True, capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.stderr == "job done\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_a_full_disk_under_stdout_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(DiskFull):
            terminal.out("x")
        monkeypatch.undo()
        with pytest.raises(OSError, match="No space"):
            full.close()


def test_importing_it_loads_neither_rich_nor_pydantic() -> None:
    done = _python(
        "import sys, zephyrctl.terminal\n"
        "print([m for m in ('rich', 'pydantic', 'typer', 'asyncio') if m in sys.modules])"
    )
    assert done.stdout == "[]\n", done.stderr


def test_the_sentence_of_an_error_breaks_at_words_and_its_hint_can_be_pasted() -> None:
    error = UsageError("some words that go on for a while", hint="a command " * 5)
    assert terminal.render_error(error, width=30).split("\n") == [
        "error[usage]: some words",
        "  that go on for a while",
        f"  hint: {('a command ' * 5).strip()}",
    ]
    assert "while" in terminal.render_error(error).split("\n")[0]


def test_streams_that_were_closed_before_the_start_are_no_fault(monkeypatch) -> None:
    for name in ("stdout", "stderr", "stdin"):
        monkeypatch.setattr(f"sys.{name}", None)
    terminal.say("nobody reads it")
    terminal.say_error(UsageError("nor this"))
    terminal.passing("nor that")
    assert not terminal.is_tty(sys.stdin)
    with pytest.raises(UsageError, match="stdout is closed"):
        terminal.out("data")
