"""Commands of the chat and what they show, with a talker that says what it is told to."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from zephyrctl.catalogue import CHAT_COMMANDS
from zephyrctl.chat.commands.settings import changed
from zephyrctl.chat.repl import Repl
from zephyrctl.chat.session import Session
from zephyrctl.data.messages import Message
from zephyrctl.errors import UsageError
from zephyrctl.generation.sampling import Completion, Sampling


class Words:
    """A reply, word by word."""

    def __init__(self, text: str, stop: Callable[[], bool]) -> None:
        self.said: list[str] = []
        self._text, self._stop = text, stop

    def __iter__(self) -> Iterator[str]:
        for word in self._text.split(" "):
            self.said.append(word)
            yield word + " "
            if self._stop():
                return

    @property
    def completion(self) -> Completion:
        text = " ".join(self.said)
        return Completion(text, len(self.said), 5, text == self._text, 0.5)


class Scripted:
    """A talker that gives the scripted replies in turn and remembers what it read."""

    name = "scripted"
    context: int | None = 60
    notices = ("its template is another one",)

    def __init__(self, *replies: str) -> None:
        self.replies = list(replies)
        self.read: list[list[Message]] = []
        self.sampled: list[Sampling] = []
        self.facts = [("folder", "/models/x"), ("device", "cpu"), ("template", "zephyr 123")]

    def count(self, messages: list[Message]) -> int:
        return sum(len(message.content.split()) for message in messages)

    def reply(
        self, messages: list[Message], *, sampling: Sampling, stop: Callable[[], bool]
    ) -> Words:
        self.read.append(messages)
        self.sampled.append(sampling)
        return Words(self.replies.pop(0), stop)

    def answer(self, messages: list[Message], *, sampling: Sampling) -> Completion:
        raise AssertionError("the chat streams")

    def rendered(self, messages: list[Message]) -> str:
        return "".join(f"<|{message.role}|>{message.content}" for message in messages)


def chat(*lines: str, replies: tuple[str, ...] = (), system: str | None = None) -> Repl:
    """Type the lines, then leave by Ctrl-D."""
    typed = iter(lines)

    def read(sign: str) -> str:
        del sign
        try:
            return next(typed)
        except StopIteration:
            raise EOFError from None

    talker = Scripted(*replies)
    repl = Repl(talker, Sampling(0.7, max_new_tokens=20), Session(system), read=read)
    repl.run()
    return repl


def read_by(repl: Repl) -> list[list[Message]]:
    assert isinstance(repl.talker, Scripted)
    return repl.talker.read


def test_each_turn_reads_the_whole_conversation(capsys: pytest.CaptureFixture[str]) -> None:
    repl = chat("hi", "and you?", replies=("hello there", "fine"), system="be kind")
    assert [message.content for message in read_by(repl)[1]] == [
        "be kind", "hi", "hello there", "and you?",
    ]  # fmt: skip
    out, err = capsys.readouterr()
    assert "hello there" in out
    assert "fine" in out
    assert "its template is another one" in err


def test_replies_go_to_stdout_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    chat("/status", "/help", "hi", "/stats", "/nonsense", replies=("hello",))
    assert capsys.readouterr().out.split() == ["hello"]


def test_control_characters_of_a_reply_are_kept_but_never_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    evil = "see \x1b]0;owned\x07 [bold]x[/bold] <b>y</b> [/INST] \x1b[2J\u202eabc"
    repl = chat("hi", replies=(evil,))
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert "[bold]x[/bold] <b>y</b> [/INST]" in out
    assert repl.session.turns[-1].content == evil


def test_several_lines_between_quotation_marks_are_one_question() -> None:
    repl = chat('"""first', "  second", 'third"""', '"""', "alone", '"""', replies=("a", "b"))
    questions = [turn.content for turn in repl.session.turns if turn.role == "user"]
    assert questions == ["first\n  second\nthird", "alone"]


def test_two_slashes_begin_a_question_with_a_slash() -> None:
    repl = chat("//etc/hosts is what?", replies=("a file",))
    assert repl.session.turns[0].content == "/etc/hosts is what?"


def test_an_unknown_command_asks_nothing_and_names_the_nearest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    repl = chat("/histroy")
    assert read_by(repl) == []
    assert "did you mean 'history'" in capsys.readouterr().err


def test_new_keeps_the_system_prompt_and_undo_takes_back_a_turn() -> None:
    repl = chat("a", "b", "/undo", "c", replies=("1", "2", "3"), system="s")
    assert [message.content for message in read_by(repl)[2]] == ["s", "a", "1", "c"]
    repl = chat("a", "/new", "b", replies=("1", "2"), system="s")
    assert [message.content for message in read_by(repl)[1]] == ["s", "b"]


def test_regen_answers_the_same_question_with_another_seed() -> None:
    repl = chat("a", "/regen", replies=("1", "2"))
    assert read_by(repl)[0] == read_by(repl)[1]
    assert isinstance(repl.talker, Scripted)
    assert [sampling.seed for sampling in repl.talker.sampled] == [0, 1]
    assert [turn.content for turn in repl.session.turns] == ["a", "2"]


def test_system_shows_sets_and_removes(capsys: pytest.CaptureFixture[str]) -> None:
    repl = chat("/system be brief", "a", "/system -", "b", "/system", replies=("1", "2"))
    assert read_by(repl)[0][0] == Message("system", "be brief")
    assert read_by(repl)[1][0] == Message("user", "a")
    assert "system: (none)" in capsys.readouterr().err


def test_settings_are_read_within_their_bounds() -> None:
    sampling = Sampling(0.7)
    assert changed(sampling, "temperature", "0.2") == replace(sampling, temperature=0.2)
    assert changed(sampling, "max_new_tokens", "9").max_new_tokens == 9
    assert changed(sampling, "seed", "4").seed == 4
    for name, value in [("temperature", "-1"), ("top_p", "2"), ("top_p", "x"), ("seed", "-1"),
                        ("temprature", "1"), ("system", "x"), ("top_k", "")]:  # fmt: skip
        with pytest.raises(UsageError):
            changed(sampling, name, value)


def test_a_cut_reply_says_how_to_lengthen_it(capsys: pytest.CaptureFixture[str]) -> None:
    class Short(Scripted):
        def reply(
            self, messages: list[Message], *, sampling: Sampling, stop: Callable[[], bool]
        ) -> Words:
            return Words("one two three", lambda: True)

    typed = iter(["hi"])

    def read(sign: str) -> str:
        for line in typed:
            return line
        raise EOFError

    Repl(Short(), Sampling(max_new_tokens=20), Session(), read=read).run()
    assert "/set max_new_tokens" in capsys.readouterr().err


def test_a_long_conversation_says_what_the_model_no_longer_reads(
    capsys: pytest.CaptureFixture[str],
) -> None:
    long = "word " * 14
    repl = chat(long, long, long, replies=("x " * 10 + "x",) * 3)
    assert len(read_by(repl)[2]) < 5
    assert "no longer reads the first" in capsys.readouterr().err
    assert len(repl.session.turns) == 6


def test_save_and_load_carry_a_conversation_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "chat.jsonl"
    chat("hi", f"/save {path}", f"/save {path}", replies=("hello",))
    assert "exists" in capsys.readouterr().err
    repl = chat(f"/load {path}", "more", replies=("ok",))
    assert [message.content for message in read_by(repl)[0]] == ["hi", "hello", "more"]


def test_template_shows_the_next_prompt_without_changing_the_conversation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    repl = chat("hi", "/template", replies=("hello",))
    assert "<|user|>hi<|assistant|>hello<|user|>(your next question)" in capsys.readouterr().err
    assert len(repl.session.turns) == 2


def test_status_history_and_stats_say_what_they_promise(
    capsys: pytest.CaptureFixture[str],
) -> None:
    chat("hi", "/status", "/history", "/stats", replies=("hello you",), system="be kind")
    err = capsys.readouterr().err
    for text in ("scripted", "zephyr 123", "temperature 0.7", "8% of the context", "be kind",
                 "[assistant]\nhello you", "2 tokens in 1 replies, 4.0 tokens/s"):  # fmt: skip
        assert text in err


def test_every_command_is_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    chat("/help", "/quit", "never asked")
    err = capsys.readouterr().err
    assert all(f"/{name}" in err for name in CHAT_COMMANDS.names())
