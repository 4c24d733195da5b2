"""What was typed before: kept privately, within limits, by several chats at once."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from zephyrctl.chat import history
from zephyrctl.chat.history import history_path, open_history


def test_the_file_is_where_the_desktop_keeps_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/mia")
    usual = Path("/home/mia/.local/state/zephyrctl/chat_history.jsonl")
    assert history_path({}) == history_path({"XDG_STATE_HOME": "relative"}) == usual
    given = history_path({"XDG_STATE_HOME": "/state"})
    assert given == Path("/state/zephyrctl/chat_history.jsonl")


def test_a_user_without_a_home_has_no_folder_named_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    assert history_path({}) == Path("/.local/state/zephyrctl/chat_history.jsonl")


def test_what_was_typed_is_there_in_the_next_chat(tmp_path: Path) -> None:
    path = tmp_path / "new" / "history.jsonl"
    first = open_history(path)
    texts = ["one", "two\nlines \x1b[31m \ud800", "two\nlines \x1b[31m \ud800", "one"]
    assert [first.add(text) for text in texts] == [None] * 4
    again = open_history(path)
    assert again.entries == ["one", texts[1], "one"]
    assert again.problems == []
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_file_that_others_could_read_is_made_private(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text('{"text": "one"}\n')
    path.chmod(0o644)
    assert open_history(path).entries == ["one"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_broken_lines_are_left_out_and_said(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_bytes(
        b'{"text": "one"}\n\xff\xfe\n[1]\n{"text": 3}\n\n{"text": "two"}\n{"text": "to'
    )
    before = open_history(path)
    assert before.entries == ["one", "two"]
    assert before.problems == [f"5 lines of the history cannot be read ({path})"]
    assert before.add("three") is None  # the torn line does not swallow it
    assert open_history(path).entries == ["one", "two", "three"]


@pytest.mark.parametrize("kind", ["folder", "no folder", "pipe"])
def test_a_chat_goes_on_without_a_history_that_cannot_be_had(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "zephyrctl" / "history.jsonl"
    if kind == "folder":
        path.mkdir(parents=True)
    elif kind == "no folder":
        path.parent.write_text("a file")
    else:
        path.parent.mkdir()
        os.mkfifo(path)
    before = open_history(path)
    assert len(before.problems) == 1
    assert str(path) in before.problems[0]
    assert before.entries == []
    assert before.add("one") is None


def test_a_large_file_is_cut_to_its_newest_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "history.jsonl"
    monkeypatch.setattr(history, "MOST_ENTRIES", 5)
    first = open_history(path)
    for number in range(20):
        first.add(f"text {number}")
    assert open_history(path).entries == [f"text {number}" for number in range(15, 20)]
    assert len(path.read_text().splitlines()) == 5
    monkeypatch.setattr(history, "MOST_BYTES", 50)
    assert open_history(path).entries == ["text 18", "text 19"]
    assert "longer than" in (first.add("x" * 60) or "")
    assert open_history(path).entries == ["text 18", "text 19"]


def test_chats_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    program = (
        "import sys; from pathlib import Path; from zephyrctl.chat.history import open_history\n"
        "for n in range(60): open_history(Path(sys.argv[1])).add(f'{sys.argv[2]} {n} ' + 'x' * 500)"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", program, str(path), name]) for name in "abc"
    ]
    assert [child.wait(timeout=60) for child in children] == [0, 0, 0]
    lines = path.read_text().splitlines()
    kept = {json.loads(line)["text"].rpartition(" ")[0] for line in lines}
    assert kept == {f"{name} {number}" for name in "abc" for number in range(60)}
