"""A whole chat at a pseudo-terminal, with the real command in a child: every command of the
catalogue, Ctrl-C, a resize, hostile replies, a very long one, and how it is left."""

import base64
import json
import os
import re
import signal
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.cli.test_chat import Terminal
from tests.fakes import FakeEndpoint

from zephyrctl.catalogue import CHAT_COMMANDS

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

PIECES = 10_000
LONG = "".join(f"n{number}" + (" " if (number + 1) % 40 else ".\n\n") for number in range(PIECES))
MARKDOWN = "# Heading\n\nSome **bold** text.\n\n- first\n- second\n"
# Two signs a piece: each escape sequence is cut in the middle.
HOSTILE = (
    "before \x1b]52;c;ZXZpbA==\x07 [red]markup[/red] <b>html</b> [/INST] \x1b[31mred "
    "\x1b]0;title\x07 \x9b2J <|system|> \u202ereversed after"
)
FORBIDDEN = re.compile(r"\x1b\][^5]|\x1b\]52;c;ZXZp|\x1b\[2J|\x1b\[31m|[\x80-\x9f]|[\u202a-\u202e]")
_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[()][A-Z0-9]|\x1b[=>78]|\r")
EDITOR = """#!/bin/sh
stat -c '%a %n' "$2" >> editor.log
echo "$1" >> editor.log
printf 'edited question' > "$2"
"""
CLIPBOARD = "#!/bin/sh\ncat > copied\n"


def answer(messages: list[dict[str, str]], *, number: int) -> str:
    """What the model says, to the `number`-th request."""
    question = messages[-1]["content"]
    if question == "who":
        return f"reply {number}"
    replies = {"long": LONG, "hostile": HOSTILE, "markdown": MARKDOWN}
    if question == "count":
        return " ".join(f"w{number}" for number in range(3000))
    return replies.get(question, f"read {len(messages)} messages; {question[:30]!r}")


def pieces(text: str) -> list[str]:
    """Words, but the hostile text so that every sequence in it is cut."""
    if text == HOSTILE:
        return [text[start : start + 2] for start in range(0, len(text), 2)]
    return re.findall(r"\S+\s*", text)


def plain(shown: str) -> str:
    """What was shown without the terminal's own control sequences."""
    return _CONTROL.sub("", shown)


class Chat(Terminal):
    """A terminal that remembers which commands were typed."""

    def __init__(self, *arguments: str, folder: Path, env: Mapping[str, str]) -> None:
        super().__init__(*arguments, folder=folder, env=env)
        self.typed: set[str] = set()
        self.expect("/help")

    def command(self, line: str, answer: str, **limits: float) -> str:
        """Type a command, and wait for its answer."""
        self.typed.add(line.split()[0].removeprefix("/"))
        self.type(f"{line}\r")
        return self.expect(answer, **limits)

    def ask(self, question: str, answer: str, **limits: float) -> str:
        """Type a question, and wait for a part of the reply and for what is said after it."""
        self.type(f"{question}\r")
        shown = self.expect(answer, **limits)
        return shown + self.expect("tokens/s", **limits)


@pytest.fixture
def server() -> Iterator[FakeEndpoint]:
    fake = FakeEndpoint(
        answer=lambda messages: answer(messages, number=len(fake.requests)), cut=pieces
    )
    with fake:
        yield fake


@pytest.fixture
def machine(tmp_path: Path) -> dict[str, str]:
    """An editor and a clipboard that leave traces in the folder."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("ed.sh", EDITOR), ("wl-copy", CLIPBOARD)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    return {
        "PATH": f"{programs}:{os.environ['PATH']}", "WAYLAND_DISPLAY": "1", "DISPLAY": "",
        "VISUAL": f"{programs / 'ed.sh'} --wait",
    }  # fmt: skip


def test_a_whole_session_with_every_command(
    server: FakeEndpoint, machine: dict[str, str], tiny_base: Path, tmp_path: Path
) -> None:
    with Chat("m", "--url", server.url, folder=tmp_path, env=machine) as chat:
        _talk(chat, server)
        _change(chat, server, tmp_path)
        _show(chat, tmp_path)
        _keep(chat, server, tmp_path)
        _compare(chat, server, tmp_path)
        _with_weights(chat, tiny_base)
        chat.command("/quit", "/quit")
        assert chat.process.wait(timeout=30) == 0
        assert chat.typed == set(CHAT_COMMANDS.names())
    _kept_history(tmp_path)


def _talk(chat: Chat, server: FakeEndpoint) -> None:
    """Several turns, several lines, a paste, a reply that is stopped, a resize in another."""
    chat.command("/help", "/quit")
    chat.command("/help regen", "temp=1.2")
    chat.command("/system be kind", "system: be kind")
    chat.ask("one", "read 2 messages")
    chat.type('"""two\r  lines"""\r')
    chat.expect("read 4 messages")
    chat.type("\x1b[200~pasted\ra\rb\x1b[201~\x1b\rand more\r")
    chat.expect("read 6 messages")
    bodies = [body for _, body in server.requests if body]  # not the question for its models
    asked = [body["messages"][-1]["content"] for body in bodies]
    assert asked == ["one", "two\n  lines", "pasted\na\nb\nand more"]
    chat.type("count\r")
    chat.expect("w9 ")
    chat.type("\x03")
    chat.expect("stopped; what came is kept")
    chat.type("count\r")
    chat.expect("w9 ")
    chat.resize(24, 40)
    chat.expect("w400", timeout_s=60)
    shown = plain(chat.expect("w900", timeout_s=60))
    chat.type("\x03")
    chat.expect("stopped; what came is kept")
    assert max(len(line) for line in shown.split("\n")) <= 40
    chat.resize(24, 80)
    chat.command("/undo", "taken back: count")
    chat.command("/undo", "taken back: count")
    chat.type("\x03")
    chat.expect("Ctrl-D or /quit leaves")


def _change(chat: Chat, server: FakeEndpoint, folder: Path) -> None:
    """Answers anew: other settings, another question."""
    chat.command("/set temp 0.25", "temperature 0.25")
    for line, temperature in (("/regen temp=1.5", 1.5), ("/regen", 0.25)):
        chat.command(line, "read 6 messages")
        chat.expect("tokens/s")  # a line of a reply is drawn more than once until it ends
        assert server.requests[-1][1]["temperature"] == temperature
    chat.command("/edit", "read 6 messages; 'edited question'")
    chat.expect("tokens/s")
    mode, path = (folder / "editor.log").read_text().splitlines()[0].split()
    assert mode == "600"
    assert not Path(path).exists()
    assert (folder / "editor.log").read_text().splitlines()[1] == "--wait"


def _show(chat: Chat, folder: Path) -> None:
    """Replies that are drawn, and what is shown of them."""
    shown = plain(chat.ask("markdown", "second"))
    assert "Heading" in shown
    assert "**bold**" not in shown
    chat.command("/raw", "**bold**")
    shown = chat.ask("hostile", " after")
    assert not FORBIDDEN.search(shown), FORBIDDEN.search(shown)
    for text in ("[red]markup[/red]", "<b>html</b>", "[/INST]", "<|system|>"):
        assert text in plain(shown)
    assert not FORBIDDEN.search(chat.command("/history", "[assistant]\r\nbefore"))
    chat.command("/raw", r"\u202ereversed after")
    sent = chat.command("/copy", "wl-copy and OSC 52")
    assert (folder / "copied").read_bytes() == HOSTILE.encode()
    assert f"\x1b]52;c;{base64.b64encode(HOSTILE.encode()).decode()}\x07" in sent
    chat.command("/status", "/new makes room")
    chat.command("/stats", "tokens in")


def _keep(chat: Chat, server: FakeEndpoint, folder: Path) -> None:
    """A very long reply, and the conversation in a file and back."""
    chat.command("/new", "a new conversation")
    server.pace_s = 0
    chat.command("/set max_new_tokens 20000", "max_new_tokens 20000")
    shown = plain(chat.ask("long", f"n{PIECES - 1}.", timeout_s=120))
    drawn = set(re.findall(r"n\d+", shown))
    assert drawn >= {f"n{number}" for number in range(PIECES)}
    chat.command("/save talk.jsonl", "(saved to talk.jsonl")
    chat.command("/new", "a new conversation")
    chat.command("/load talk.jsonl", "2 messages")
    chat.command("/save again.jsonl", "(saved to again.jsonl")
    assert (folder / "talk.jsonl").read_bytes() == (folder / "again.jsonl").read_bytes()
    (row,) = (folder / "talk.jsonl").read_text().splitlines()
    contents = [message["content"] for message in json.loads(row)["messages"]]
    assert contents == ["be kind", "long", LONG.strip()]
    chat.command("/new", "a new conversation")


def _compare(chat: Chat, server: FakeEndpoint, folder: Path) -> None:
    """Another model answers too, and a vote is kept."""
    chat.command("/compare other", "other")
    chat.type("who\r")
    chat.expect("without a vote A goes on")
    assert [body["model"] for _, body in server.requests[-2:]] == ["m", "other"]
    first, second = (f"reply {len(server.requests) - 2 + number}" for number in (1, 2))
    chat.command("/prefer b", "saved 1 pair")
    (pair,) = map(json.loads, (folder / "runs/chats/prefs.jsonl").read_text().splitlines())
    assert [pair[side][0]["content"] for side in ("chosen", "rejected")] == [second, first]
    chat.command("/compare off", "goes on alone")


def _with_weights(chat: Chat, model: Path) -> None:
    """The same conversation with a model on this machine, whose template and tokens are known."""
    chat.command("/model ./nowhere", "no model './nowhere'")
    chat.command(f"/model {model}", "goes on", timeout_s=60)
    chat.command("/set max_new_tokens 4", "max_new_tokens 4")
    chat.ask("hello", "tokens", timeout_s=60)
    chat.command("/template", "(your next question)")
    assert int(re.findall(r"\((\d+) tokens\)", chat.expect(" tokens)"))[0]) > 20
    assert "when it is full" in plain(chat.command("/status", "always stay"))


def _kept_history(folder: Path) -> None:
    """What was typed, on a disk of the user's alone."""
    path = folder / "state" / "zephyrctl" / "chat_history.jsonl"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    texts = [json.loads(line)["text"] for line in path.read_text().splitlines()]
    assert texts[0] == "/help"
    assert texts[-1] == "/quit"
    assert "pasted\na\nb\nand more" in texts


def test_what_was_typed_comes_back_in_the_next_chat_unless_it_is_not_to_be_kept(
    server: FakeEndpoint, tmp_path: Path
) -> None:
    with Chat("m", "--url", server.url, folder=tmp_path, env={}) as chat:
        chat.ask("one two", "read 1 messages")
        chat.expect("›")
        chat.type("\x04")
        assert chat.process.wait(timeout=30) == 0
    with Chat("m", "--url", server.url, "--no-history", folder=tmp_path, env={}) as chat:
        chat.ask("secret", "read 1 messages")
        chat.command("/quit", "/quit")
    with Chat("m", "--url", server.url, folder=tmp_path, env={}) as chat:
        chat.expect("›")
        chat.type("\x1b[A")
        chat.expect("one two")
        chat.type("\x03one")
        chat.expect(" two")
        chat.type("\x1b[C\r")  # the suggestion is taken
        chat.expect("read 1 messages")
        assert server.requests[-1][1]["messages"][-1]["content"] == "one two"
    assert "secret" not in (tmp_path / "state/zephyrctl/chat_history.jsonl").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("when", ["at the prompt", "in a reply", "between the two"])
def test_a_signal_to_end_leaves_the_terminal_as_it_was(
    number: signal.Signals, when: str, server: FakeEndpoint, tmp_path: Path
) -> None:
    with Chat("m", "--url", server.url, folder=tmp_path, env={}) as chat:
        chat.ask("one", "read 1 messages")
        if when == "in a reply":
            chat.type("count\r")
            chat.expect("w9 ")
        elif when == "at the prompt":
            chat.expect("\u203a")
            chat.type("half a question")  # echoed by the editor, once it reads
            chat.expect("half a question")
        chat.process.send_signal(number)
        shown = _until_it_ends(chat)
        assert chat.process.returncode == 143, shown
        assert "Traceback" not in shown
        assert chat.modes == chat.modes_before
        if "\x1b[?25l" in shown:  # the cursor was hidden
            assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
        assert shown.count("\x1b[?2004h") <= shown.count("\x1b[?2004l")


def test_a_terminal_that_vanishes_in_a_reply_ends_the_chat_as_its_signal_does(
    server: FakeEndpoint, tmp_path: Path
) -> None:
    chat = Chat("m", "--url", server.url, folder=tmp_path, env={})
    chat.type("count\r")
    chat.expect("w9 ")
    os.close(chat._main)
    assert chat.process.wait(timeout=60) == 143


def _until_it_ends(chat: Terminal) -> str:
    """Everything that is shown until the child is gone."""
    shown: list[Any] = []
    while chat.process.poll() is None:
        shown.append(chat.take(0.2))
    return "".join([*shown, chat.take(0.2)])
