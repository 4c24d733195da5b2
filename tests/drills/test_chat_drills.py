"""Drill 23: a model whose replies are aimed at the terminal, and Ctrl-C in the middle of one."""

import re
import signal
import subprocess

import pytest
from tests.cli.test_chat import Terminal
from tests.drills.conftest import Yard
from tests.fakes import FakeEndpoint

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

# The server sends word by word: the sequence is cut in two by the blank.
CLIPBOARD = "before \x1b]52;c; aGVsbG8=\x07 after"
MARKUP = "[/b] [link=http://evil]here[/link]"
BIDI = "\u202etxt.exe \u2066over\u2069"
C1 = "\x9b2J \x9d0;owned\x9c"
LINE = "x" * 1_000_000
HOSTILE = f"{CLIPBOARD} {MARKUP} {BIDI} {C1} {LINE} end"
FORBIDDEN = re.compile(r"\x1b\]|\x1b\[2J|\x07|[\x80-\x9f]|[\u202a-\u202e\u2066-\u2069]")


def answer(messages: list[dict[str, str]]) -> str:
    last = messages[-1]["content"]
    if last == "count":
        return " ".join(f"w{number}" for number in range(3000))
    return HOSTILE if last == "attack" else f"read {len(messages)} messages"


def test_23_hostile_replies_are_shown_as_safe_text_and_ctrl_c_keeps_the_conversation(
    yard: Yard,
) -> None:
    with (
        FakeEndpoint(answer=answer) as server,
        Terminal("m", "--url", server.url, folder=yard.folder) as terminal,
    ):
        terminal.expect("/help")
        terminal.type("attack\r")
        shown = terminal.expect(" end", timeout_s=90)
        assert not FORBIDDEN.search(shown), FORBIDDEN.search(shown)
        assert MARKUP in shown
        assert shown.count("x") >= len(LINE)
        terminal.type("count\r")
        terminal.expect("w9 ")
        terminal.type("\x03")
        terminal.expect("stopped; what came is kept")
        terminal.type("next\r")
        terminal.expect("read 5 messages")
        kept = [message["content"] for message in server.requests[-1][1]["messages"]]
        assert HOSTILE in kept[1]  # as data it is whole
        assert kept[3].startswith("w0 w1 ")
        assert "w2999" not in kept[3]
        terminal.press_until("/quit\r", "/quit")
        assert terminal.process.wait(timeout=30) == 0


def test_23_one_answer_is_safe_on_stdout_and_ctrl_c_is_130(yard: Yard) -> None:
    with FakeEndpoint(answer=answer) as server:
        done = yard("chat", "m", "--url", server.url, "--prompt", "attack")
        assert not FORBIDDEN.search(done.stdout)
        assert MARKUP in done.stdout
        child = subprocess.Popen(
            yard.argv("chat", "m", "--url", server.url, "--prompt", "count"),
            cwd=yard.folder, env=yard.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        assert child.stdout is not None
        assert child.stdout.read(10).startswith("w0")
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=30)
    assert child.returncode == 130
    assert "Traceback" not in said
