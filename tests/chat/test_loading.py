"""The sign of life while a model is loaded, on a terminal and elsewhere."""

from __future__ import annotations

import io
import os
import pty
import re
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.chat.talkers import Scripted

from zephyrctl import terminal
from zephyrctl.chat import loading
from zephyrctl.chat.keyboard import quiet_keyboard
from zephyrctl.chat.seats import Bench, Seat
from zephyrctl.chat.talker import Talker


class Screen(io.StringIO):
    """A terminal as stderr."""

    def isatty(self) -> bool:
        return True


def watched(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """From now on stderr is a terminal. No fixture: pytest captures anew between it and a test."""
    shown = Screen()
    monkeypatch.setattr("sys.stderr", shown)
    monkeypatch.setenv("TERM", "xterm")
    return shown


def left_on(shown: str) -> str:
    """What stands on the screen in the end: each passing line is gone."""
    return re.sub(r"\r\x1b\[\?7l[^\r\n]*\x1b\[\?7h(?=\r)|\r\x1b\[K", "", shown)


def wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_is_done_is_said_in_one_line_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = watched(monkeypatch)
    with loading.starting():
        assert "starting …" in screen.getvalue()
        with loading.loading("mine/sft"):
            assert "loading mine/sft …" in screen.getvalue()
            loading.doing("3.1 MiB of weights")
            wait_until(lambda: "loading mine/sft: 3.1 MiB of weights …" in screen.getvalue())
            terminal.say("! a notice")
    assert left_on(screen.getvalue()) == "! a notice\n"


def test_what_could_tell_a_blind_model_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    screen = watched(monkeypatch)

    def opened() -> Talker:
        loading.doing("3.1 MiB of weights")
        time.sleep(3 * loading._FRAME_S)
        return Scripted()

    bench = Bench([Seat("m", "m", opened)], tmp_path)
    bench.load(bench.seats[0], label="A", blind=True)
    assert "loading A …" in screen.getvalue()
    assert "MiB" not in screen.getvalue()


def test_nothing_is_drawn_once_it_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = watched(monkeypatch)
    with loading.loading("m"):
        pass
    shown = screen.getvalue()
    loading.doing("something")
    time.sleep(3 * loading._FRAME_S)
    assert screen.getvalue() == shown


def test_a_download_is_left_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = watched(monkeypatch)
    with loading.loading("m"), loading.hidden():
        shown = screen.getvalue()
        time.sleep(3 * loading._FRAME_S)
        assert screen.getvalue() == shown
        assert left_on(shown) == ""


def test_a_fault_takes_the_line_away(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = watched(monkeypatch)
    with pytest.raises(KeyboardInterrupt), loading.starting(), loading.loading("m"):
        raise KeyboardInterrupt
    terminal.say("interrupted")
    assert left_on(screen.getvalue()) == "interrupted\n"


def test_a_models_name_is_no_markup_and_no_sequence(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = watched(monkeypatch)
    with loading.loading("my[/b]model \x1b[2J[red]one"):
        pass
    assert "loading my[/b]model [red]one" in screen.getvalue()


@pytest.mark.parametrize("kind", ["no terminal", "dumb"])
def test_where_nothing_can_be_redrawn_it_is_one_line(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = io.StringIO() if kind == "no terminal" else Screen()
    monkeypatch.setattr("sys.stderr", shown)
    monkeypatch.setenv("TERM", "dumb" if kind == "dumb" else "xterm")
    with loading.starting(), loading.loading("mine/sft"):
        loading.doing("first")
    assert shown.getvalue() == "loading mine/sft …\n"


def test_what_is_typed_while_a_model_is_loaded_is_not_echoed_and_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watched(monkeypatch)
    master, slave = pty.openpty()
    with os.fdopen(slave, "r") as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        before = termios.tcgetattr(slave)
        with loading.loading("m"):
            os.write(master, b"hello\n")
        assert termios.tcgetattr(slave) == before
        os.set_blocking(master, False)
        with pytest.raises(BlockingIOError):
            os.read(master, 100)
        assert stdin.readline() == "hello\n"
    os.close(master)


def test_a_closed_or_missing_keyboard_is_none_to_be_quieted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for stdin in (None, io.StringIO()):
        monkeypatch.setattr("sys.stdin", stdin)
        with quiet_keyboard():
            pass


def test_a_passing_line_gives_way_to_data_too(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, stdout = watched(monkeypatch), io.StringIO()
    monkeypatch.setattr("sys.stdout", stdout)
    terminal.passing("working")
    terminal.out("data")
    assert screen.getvalue().endswith("\r\x1b[K")
    assert stdout.getvalue() == "data\n"
