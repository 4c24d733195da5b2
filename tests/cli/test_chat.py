"""`zephyrctl chat` as a person and as a script meet it."""

import codecs
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import pytest
from tests.fakes import FakeEndpoint

pytestmark = pytest.mark.e2e
COMMAND = [sys.executable, "-m", "zephyrctl", "chat"]


def environment(folder: Path) -> dict[str, str]:
    """No colour, no key of the machine, nothing from the network; what is kept stays in
    `folder`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI")}
    return {
        **kept, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "NO_COLOR": "1", "TERM": "xterm",
        "XDG_STATE_HOME": str(folder / "state"),
    }  # fmt: skip


def run(
    *arguments: str, folder: Path, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], cwd=folder, env=environment(folder), input=stdin,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


class Terminal:
    """A child on a pseudo-terminal: type, and wait for what it shows."""

    def __init__(
        self,
        *arguments: str,
        folder: Path,
        env: Mapping[str, str] | None = None,
        columns: int = 80,
    ) -> None:
        self.shown = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        main, child = pty.openpty()
        self._main = main
        self.resize(24, columns)
        self.modes_before = self.modes
        self.process = subprocess.Popen(
            [*COMMAND, *arguments], cwd=folder, env=environment(folder) | dict(env or {}),
            stdin=child, stdout=child, stderr=child, start_new_session=True,
            preexec_fn=lambda: _take_terminal(child),
        )  # fmt: skip
        os.close(child)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._main)

    def type(self, text: str) -> None:
        os.write(self._main, text.encode())

    def resize(self, rows: int, columns: int) -> None:
        """As when a person pulls at the window: the kernel tells the child by SIGWINCH."""
        termios.tcsetwinsize(self._main, (rows, columns))

    @property
    def modes(self) -> list[Any]:
        """How the terminal is set: echo, whole lines, …"""
        return termios.tcgetattr(self._main)

    def press_until(self, key: str, text: str) -> None:
        """Press a key until `text` is shown. One that comes between the prompt and the wait for
        input is lost to Python's readline, so a person would press it again too."""
        for _ in range(20):
            self.type(key)
            try:
                self.expect(text, timeout_s=2.0)
            except AssertionError:
                continue
            return
        raise AssertionError(f"no {text!r} in {self.shown!r}")

    def expect(self, text: str, *, timeout_s: float = 40.0) -> str:
        """Wait until `text` is shown after what was expected before; returns what came."""
        deadline = time.monotonic() + timeout_s
        while text not in self.shown:
            assert time.monotonic() < deadline, f"no {text!r} in {self.shown[-5000:]!r}"
            self.shown += self._read(0.1)
        before, found, self.shown = self.shown.partition(text)
        return before + found

    def take(self, seconds: float) -> str:
        """What is shown and was not expected, and what comes within `seconds`."""
        shown, self.shown = self.shown + self._read(seconds), ""
        return shown

    def _read(self, seconds: float) -> str:
        if not select.select([self._main], [], [], seconds)[0]:
            return ""
        try:
            return self._decoder.decode(os.read(self._main, 65536))
        except OSError:  # the child has closed its end
            return ""


def _take_terminal(descriptor: int) -> None:
    import fcntl
    import termios

    fcntl.ioctl(descriptor, termios.TIOCSCTTY, 0)


@pytest.fixture
def server() -> Any:
    with FakeEndpoint() as server:
        yield server


def test_one_answer_is_one_json_object_that_says_how_it_came_about(
    tiny_base: Path, tmp_path: Path
) -> None:
    done = run(
        str(tiny_base), "--prompt", "Offer tea to Mia.", "--json", "--max-new-tokens", "6",
        "--temperature", "0", "--system", "be kind", "--device", "cpu", folder=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    record = json.loads(line)
    assert list(record) == [
        "model", "messages", "reply", "finish_reason", "tokens", "prompt_tokens", "seconds",
        "seed", "sampling", "template_sha256",
    ]  # fmt: skip
    assert record["finish_reason"] == ("length" if record["tokens"] == 6 else "stop")
    assert record["prompt_tokens"] > 6
    assert re.fullmatch("[0-9a-f]{64}", record["template_sha256"])
    assert record["messages"] == [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "Offer tea to Mia."},
    ]
    assert 1 <= record["tokens"] <= 6
    assert record["seconds"] > 0
    assert "loading" in done.stderr


def test_text_on_stdin_is_the_prompt_and_the_reply_alone_is_on_stdout(
    server: FakeEndpoint, tmp_path: Path
) -> None:
    done = run("m", "--url", server.url, folder=tmp_path, stdin="hello\nthere\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "you said: hello\nthere"
    assert server.requests[0][1]["messages"][-1]["content"] == "hello\nthere"


def test_flags_reach_the_service(server: FakeEndpoint, tmp_path: Path) -> None:
    done = run(
        "m", "--url", server.url, "--prompt", "hi", "--json", "--seed", "7", "--temperature",
        "0.3", "--max-new-tokens", "9", folder=tmp_path,
    )  # fmt: skip
    assert json.loads(done.stdout)["reply"] == "you said: hi"
    body = server.requests[0][1]
    assert (body["model"], body["seed"], body["temperature"], body["max_tokens"]) == (
        "m", 7, 0.3, 9,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "stdin", "code"),
    [
        ([], "hi", 2),
        (["@last", "--prompt", "hi"], None, 2),
        (["./nowhere", "--prompt", "hi"], None, 2),
        (["--prompt", "  "], None, 2),
        (["tiny"], "", 2),
        (["m", "--url", "ftp://x", "--prompt", "hi"], None, 2),
        (["m", "--url", "http://127.0.0.1:9/v1", "--prompt", "hi"], None, 5),
        (["m", "--temperature", "-1", "--prompt", "hi"], None, 2),
        (["m", "--max-new-tokens", "0", "--prompt", "hi"], None, 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_wishes_end_with_one_message_and_their_code(
    arguments: list[str], stdin: str | None, code: int, tmp_path: Path
) -> None:
    done = run(*arguments, folder=tmp_path, stdin=stdin if stdin is not None else "")
    assert done.returncode == code, done.stderr
    assert done.stderr.count("error[") == 1
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_settings_that_the_service_does_not_apply_are_said(form: list[str], tmp_path: Path) -> None:
    with FakeEndpoint(refuses=["temperature"]) as server:
        done = run("m", "--url", server.url, "--prompt", "hi", *form, folder=tmp_path)
        assert "temperature" not in server.requests[-1][1]
    assert done.returncode == 0, done.stderr
    assert "! m samples at a temperature of its own" in done.stderr
    assert done.stderr.count("! top_k is not sent") == 1


def test_a_service_that_asks_for_a_key_gets_that_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-mine\n")
    with FakeEndpoint(key="sk-mine") as server:
        arguments = ("m", "--url", server.url, "--prompt", "hi")
        right = run(*arguments, "--api-key-file", "key", folder=tmp_path)
        assert right.stdout.strip() == "you said: hi", right.stderr
        for wrong in (run(*arguments, folder=tmp_path), run(*arguments[1:], folder=tmp_path)):
            assert wrong.returncode == 4, wrong.stderr
            assert "--api-key-file FILE" in wrong.stderr
            assert "eval.judge" not in wrong.stderr


def test_an_error_under_json_is_one_json_object(tmp_path: Path) -> None:
    done = run("@last", "--prompt", "hi", "--json", folder=tmp_path)
    assert json.loads(done.stdout)["error"]["code"] == done.returncode == 2


def test_ctrl_c_during_one_answer_is_130(tmp_path: Path) -> None:
    with FakeEndpoint(answer=lambda messages: "word " * 4000) as server:
        child = subprocess.Popen(
            [*COMMAND, "m", "--url", server.url, "--prompt", "hi"], cwd=tmp_path,
            env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert child.stdout is not None
        assert child.stdout.read(10).startswith("word")
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=20)
    assert child.returncode == 130
    assert "Traceback" not in err


def test_a_request_to_end_during_one_answer_is_143_and_one_json_object(tmp_path: Path) -> None:
    with FakeEndpoint(delay_s=60) as server:
        child = subprocess.Popen(
            [*COMMAND, "m", "--url", server.url, "--prompt", "hi", "--json"], cwd=tmp_path,
            env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while not server.requests and time.monotonic() < deadline:
            time.sleep(0.05)
        child.send_signal(signal.SIGTERM)
        out, err = child.communicate(timeout=30)
    assert json.loads(out)["error"]["code"] == child.returncode == 143, err


def test_a_reader_who_leaves_ends_the_answer(tmp_path: Path) -> None:
    with FakeEndpoint(answer=lambda messages: "word " * 20_000) as server:
        child = subprocess.Popen(
            [*COMMAND, "m", "--url", server.url, "--prompt", "hi"], cwd=tmp_path,
            env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.read(4) == "word"
        child.stdout.close()
        # The whole answer takes 100 seconds.
        assert child.wait(timeout=60) == 0, child.stderr.read()
        assert "Traceback" not in child.stderr.read()
        child.stderr.close()


def test_a_conversation_at_a_terminal(tmp_path: Path) -> None:
    evil = "safe \x1b]0;owned\x07[red]text[/red] \x1b[31m<b>x</b>"
    replies = {"hi": "hello you", "evil": evil}
    with (
        FakeEndpoint(answer=lambda m: replies.get(m[-1]["content"], "again")) as server,
        Terminal("m", "--url", server.url, folder=tmp_path) as terminal,
    ):
        terminal.expect("/help")
        terminal.type("hi\r")
        terminal.expect("hello you")
        terminal.type("evil\r")
        shown = terminal.expect("<b>x</b>")
        assert "\x1b]0;" not in shown
        assert "[red]text[/red]" in shown
        terminal.type('"""\rtwo\rlines\r"""\r')
        terminal.expect("again")
        terminal.type("/save talk.jsonl\r")
        terminal.expect("(saved to talk.jsonl")
        terminal.type("/nosuch\r")
        terminal.expect("unknown command /nosuch")
        terminal.type("/quit\r")
        assert terminal.process.wait(timeout=20) == 0
    saved = json.loads((tmp_path / "talk.jsonl").read_text())["messages"]
    assert [message["content"] for message in saved[:3]] == ["hi", "hello you", "evil"]
    assert saved[4]["content"] == "two\nlines"


def test_ctrl_c_stops_a_reply_and_keeps_what_came(tmp_path: Path) -> None:
    def answer(messages: list[dict[str, str]]) -> str:
        if messages[-1]["content"] == "count":
            return " ".join(f"w{number}" for number in range(3000))
        return f"read {len(messages)} messages"

    with (
        FakeEndpoint(answer=answer) as server,
        Terminal("m", "--url", server.url, folder=tmp_path) as terminal,
    ):
        terminal.expect("/help")
        terminal.type("count\r")
        terminal.expect("w9 ")
        terminal.type("\x03")
        terminal.expect("stopped; what came is kept")
        terminal.type("next\r")
        terminal.expect("read 3 messages")
        terminal.expect("tokens/s")
        kept = server.requests[-1][1]["messages"][1]["content"]
        assert kept.startswith("w0 w1 ")
        assert "w2999" not in kept
        terminal.press_until("\x03", "Ctrl-D or /quit leaves")
        terminal.press_until("/quit\r", "/quit")
        assert terminal.process.wait(timeout=20) == 0
