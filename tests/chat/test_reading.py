"""Questions of several lines, completion, and the line that is said after a reply."""

import io
from pathlib import Path

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from tests.chat.talkers import WARM, Scripted, said

from zephyrctl.catalogue import CHAT_COMMANDS
from zephyrctl.chat import meter, reading
from zephyrctl.chat.completing import Commands
from zephyrctl.chat.lines import is_open, unfenced
from zephyrctl.chat.repl import Repl
from zephyrctl.chat.session import Session
from zephyrctl.generation.sampling import Completion


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("plain", "plain"),
        ('"""one"""', "one"),
        ('"""one\ntwo"""', "one\ntwo"),
        (' """\n  one\n"""  ', "  one"),
        ('""""""', ""),
        ('say """x"""', 'say """x"""'),
    ],
)
def test_the_text_between_quotation_marks_is_the_question(text: str, read: str) -> None:
    assert not is_open(text)
    assert unfenced(text) == read


@pytest.mark.parametrize("text", ['"""', '"""one', '"""one\n', '"""one""" two', '"""one""'])
def test_open_quotation_marks_wait_for_the_others(text: str) -> None:
    assert is_open(text)


def test_without_a_terminal_the_sign_goes_to_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("one\n"))
    read = reading.open_reader(history=None, references=list)
    assert read("› ") == "one"
    with pytest.raises(EOFError):
        read("› ")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "› › \n")


def test_what_is_typed_and_is_no_text_is_told_and_the_chat_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Keyboard(io.BytesIO):
        """Gives a line at a time, as a terminal does."""

        def read1(self, size: int | None = -1) -> bytes:
            return self.readline()

    stdin = io.TextIOWrapper(Keyboard(b"\xff\xfe\nhi\n"), encoding="utf-8")
    monkeypatch.setattr("sys.stdin", stdin)
    read = reading.open_reader(history=None, references=list)
    repl = Repl(Scripted("hello"), WARM, Session(), read=read)
    repl.run()
    assert said(repl) == ["hi", "hello"]
    assert "not UTF-8 text: nothing is asked" in capsys.readouterr().err


def completions(text: str, *, references: list[str] | None = None) -> list[str]:
    """The line as each completion would leave it."""
    found = Commands(lambda: references or []).get_completions(Document(text), CompleteEvent())
    return [text[: len(text) + one.start_position] + one.text for one in found]


def test_commands_are_completed_and_questions_are_not() -> None:
    assert completions("/") == [f"/{name}" for name in CHAT_COMMANDS.names()]
    assert completions("/sta") == ["/status", "/stats"]
    for text in ("", "sta", " /sta", "//sta", "/sta\n", "say /sta"):
        assert completions(text) == []


def test_each_command_is_completed_by_what_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert completions("/set t") == ["/set temperature", "/set top_p", "/set top_k"]
    assert completions("/set temperature ") == []
    assert completions("/regen temperature=1 se") == ["/regen temperature=1 seed="]
    assert completions("/help ra") == ["/help raw"]
    assert completions("/prefer t") == ["/prefer tie"]
    refs = ["@last", "@sft", "mine/sft"]
    assert completions("/model @", references=refs) == ["/model @last", "/model @sft"]
    assert completions("/compare @sft m", references=refs) == ["/compare @sft mine/sft"]
    assert completions("/quit ") == []
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a chat.jsonl").touch()
    assert completions("/load a c") == ["/load a chat.jsonl"]


def test_what_is_said_after_a_reply_leaves_out_what_is_not_known() -> None:
    known = Completion("x", 21, 60, True, 2.5, cached=40, first_s=0.5)
    assert meter.line(known, context=100) == (
        "21 tokens · 10.0 tokens/s · first 0.50 s · context 81/100 (81%) · 40 cached"
    )
    endpoint = Completion("x", 5, 0, True, 0.5)
    assert meter.line(endpoint, context=None) == "5 tokens · 10.0 tokens/s"
    assert meter.line(Completion("", 0, 0, False, 0.0), context=None) == "0 tokens"
    assert meter.line(Completion("x", 1, 9, True, 0.5, first_s=0.5), context=10) == (
        "1 token · first 0.50 s · context 10/10 (100%)"
    )
