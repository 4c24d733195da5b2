"""What happens at the prompt of a chat, with a talker that says what it is told to."""

import errno
import io
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from tests.chat.talkers import Scripted, Words, chat, said, scripted

from zephyrctl.catalogue import CHAT_COMMANDS
from zephyrctl.chat.repl import Repl
from zephyrctl.chat.replying import shown
from zephyrctl.chat.session import Session
from zephyrctl.chat.settings import changed
from zephyrctl.data.messages import Message
from zephyrctl.errors import UsageError
from zephyrctl.generation.sampling import Sampling


def test_each_turn_reads_the_whole_conversation(capsys: pytest.CaptureFixture[str]) -> None:
    repl = chat("hi", "and you?", replies=("hello there", "fine"), system="be kind")
    assert [message.content for message in scripted(repl).read[1]] == [
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
    assert scripted(repl).read == []
    assert "did you mean '/history'" in capsys.readouterr().err


def test_new_keeps_the_system_prompt_and_undo_takes_back_a_turn() -> None:
    repl = chat("a", "b", "/undo", "c", replies=("1", "2", "3"), system="s")
    assert [message.content for message in scripted(repl).read[2]] == ["s", "a", "1", "c"]
    repl = chat("a", "/new", "b", replies=("1", "2"), system="s")
    assert [message.content for message in scripted(repl).read[1]] == ["s", "b"]


def test_a_question_that_is_asked_together_with_an_unanswered_one_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    repl = chat("a", "b", replies=("", "2"))
    assert [message.content for message in scripted(repl).read[1]] == ["a\n\nb"]
    assert capsys.readouterr().err.count("asked together with the question before") == 1


def test_regen_answers_the_same_question_with_another_seed() -> None:
    repl = chat("a", "/regen", replies=("1", "2"))
    assert scripted(repl).read[0] == scripted(repl).read[1]
    assert [sampling.seed for sampling in scripted(repl).sampled] == [0, 1]
    assert [turn.content for turn in repl.session.turns] == ["a", "2"]


def test_system_shows_sets_and_removes(capsys: pytest.CaptureFixture[str]) -> None:
    repl = chat("/system be brief", "a", "/system -", "b", "/system", replies=("1", "2"))
    assert scripted(repl).read[0][0] == Message("system", "be brief")
    assert scripted(repl).read[1][0] == Message("user", "a")
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
    class Cut(Scripted):
        def reply(
            self, messages: list[Message], *, sampling: Sampling, stop: Callable[[], bool]
        ) -> Words:
            return Words("one two three", lambda: True)

    typed = iter(["hi"])

    def read(sign: str) -> str:
        for line in typed:
            return line
        raise EOFError

    for context, hint in ((60, "/set max_new_tokens"), (6, "the context is full")):
        typed = iter(["hi"])
        talker = Cut()
        talker.context = context
        Repl(talker, Sampling(max_new_tokens=1), Session(), read=read).run()
        assert hint in capsys.readouterr().err


def test_a_long_conversation_says_what_the_model_no_longer_reads(
    capsys: pytest.CaptureFixture[str],
) -> None:
    long = "word " * 14
    repl = chat(long, long, long, replies=("x " * 10 + "x",) * 3)
    assert len(scripted(repl).read[2]) < 5
    assert "no longer reads the first" in capsys.readouterr().err
    assert len(repl.session.turns) == 6


def test_a_full_context_is_said_when_it_begins_and_in_the_status(
    capsys: pytest.CaptureFixture[str],
) -> None:
    long = "word " * 14
    chat(*[long] * 4, "/status", replies=("x " * 10 + "x",) * 4)
    err = capsys.readouterr().err
    assert err.count("no longer reads the first") == 1
    assert "the first 4 messages" in err
    assert "the newest question always stay" in err


def test_ctrl_c_stops_a_reply_after_the_next_piece_and_keeps_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    repl = chat("hi", "and?", replies=("one ^C two three", "four"))
    assert said(repl) == ["hi", "one two", "and?", "four"]
    assert "(stopped; what came is kept" in capsys.readouterr().err


def test_a_second_ctrl_c_breaks_the_reply_off(capsys: pytest.CaptureFixture[str]) -> None:
    repl = chat("hi", replies=("one ^C ^C two three",))
    assert said(repl) == ["hi", "one"]
    assert "(stopped; what came is kept" in capsys.readouterr().err


def test_ctrl_c_before_the_first_piece_waits_for_none(capsys: pytest.CaptureFixture[str]) -> None:
    repl = chat("hi", "/regen", replies=("^C one two", "three"))
    assert said(repl) == ["hi", "three"]
    assert "stopped before anything came" in capsys.readouterr().err


def test_ctrl_c_at_the_prompt_says_how_to_leave(capsys: pytest.CaptureFixture[str]) -> None:
    repl = chat("^C", "hi", replies=("one",))
    assert said(repl) == ["hi", "one"]
    assert "Ctrl-D or /quit leaves" in capsys.readouterr().err


def test_a_service_that_fails_in_a_reply_leaves_what_came(
    capsys: pytest.CaptureFixture[str],
) -> None:
    repl = chat("hi", "/regen", replies=("one two ! three", "four"))
    out, err = capsys.readouterr()
    assert said(repl) == ["hi", "four"]
    assert "one two" in out
    assert "error[network]" in err
    assert "what came is kept" in err


def test_a_service_that_never_answers_leaves_the_question(
    capsys: pytest.CaptureFixture[str],
) -> None:
    repl = chat("hi", replies=("! one",))
    assert said(repl) == ["hi"]
    out, err = capsys.readouterr()
    assert out == ""
    assert "error[network]" in err


def test_save_and_load_carry_a_conversation_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "chat.jsonl"
    chat("hi", f"/save {path}", f"/save {path}", replies=("hello",))
    assert "exists" in capsys.readouterr().err
    repl = chat(f"/load {path}", "more", replies=("ok",))
    assert [message.content for message in scripted(repl).read[0]] == ["hi", "hello", "more"]


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
                 "[assistant]\nhello you", "2 tokens in 1 reply, 4.0 tokens/s"):  # fmt: skip
        assert text in err


class Elsewhere(Scripted):
    """A model at a service that tells its context and the tokens of a prompt."""

    weight_bytes: int | None = None

    def count(self, messages: list[Message]) -> None:
        del messages


def test_a_service_has_a_context_meter_and_another_rule(
    capsys: pytest.CaptureFixture[str],
) -> None:
    repl = chat("/status", "hi", "/status", "/stats", "/new", "/status",
                talker=Elsewhere("hello you"))  # fmt: skip
    err = capsys.readouterr().err
    assert err.count("context   60 tokens") == 3
    assert err.count("used      7 tokens, 12% of the context at the last reply") == 1
    assert err.count("rule      every question is sent with the whole conversation") == 3
    assert "context 7/60 (12%)" in repl.totals.last
    unknown = Elsewhere("hello")
    unknown.context = None
    chat("hi", "/status", talker=unknown)
    err = capsys.readouterr().err
    assert "context   unknown" in err
    assert "used  " not in err


def test_every_command_is_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    chat("/help", "/quit", "never asked")
    err = capsys.readouterr().err
    assert all(f"/{name}" in err for name in CHAT_COMMANDS.names())


def test_a_fault_in_a_reply_does_not_take_the_conversation_with_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    repl = chat("a", "b", "/undo", replies=("1",))  # the talker has no second reply: IndexError
    assert said(repl) == ["a", "1"]
    err = capsys.readouterr().err
    assert "error[internal]" in err
    assert "IndexError" in err
    assert "/save FILE" in err


def test_a_fault_in_the_middle_of_a_reply_leaves_what_came(
    capsys: pytest.CaptureFixture[str],
) -> None:
    repl = chat("hi", "more", replies=("one two !! three", "four"))
    assert said(repl) == ["hi", "one two", "more", "four"]
    err = capsys.readouterr().err
    assert "RuntimeError: index out of range" in err
    assert "what came is kept" in err


class Gone(io.StringIO):
    """A stdout whose terminal has vanished."""

    def write(self, text: str) -> int:
        raise OSError(errno.EIO, "Input/output error")


def test_a_terminal_that_is_gone_hides_no_request_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def reply() -> None:
        with shown("plain") as show:
            with suppress(OSError):
                show("one")
            raise SystemExit(143)

    monkeypatch.setattr("sys.stdout", Gone())
    with pytest.raises(SystemExit, match="143"):
        reply()


def test_a_command_is_one_in_capitals_and_after_a_blank(capsys: pytest.CaptureFixture[str]) -> None:
    repl = chat("  /STATS", " /etc is what?", replies=("a folder",))
    assert "last: " in capsys.readouterr().err
    assert repl.session.turns[0].content == " /etc is what?"
