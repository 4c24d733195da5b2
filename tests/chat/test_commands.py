"""Commands that ask again, edit, copy, show a reply's source, and change the model."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.chat.talkers import Scripted, chat, said, scripted

from zephyrctl.catalogue import CHAT_COMMANDS
from zephyrctl.chat import fitting
from zephyrctl.chat.fitting import Free
from zephyrctl.chat.seats import Seating
from zephyrctl.config.schema import Recipe
from zephyrctl.errors import EnvironmentProblem, UsageError
from zephyrctl.generation.sampling import Sampling
from zephyrctl.runs.references import ModelRef


@pytest.fixture
def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes a shell script the user's editor; `$1` is the file."""

    def make(script: str) -> None:
        path = tmp_path / "editor with blank"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("VISUAL", f"'{path}'")
        monkeypatch.setenv("TMPDIR", str(tmp_path))

    return make


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for entry in CHAT_COMMANDS.entries():
        chat(f"/help {entry.name}")
        err = capsys.readouterr().err
        assert f"/{entry.name}: {entry.summary}" in err
        assert len(err.splitlines()[3].split()) > 3
    chat("/help nothing")
    assert "unknown command 'nothing'" in capsys.readouterr().err


def test_regen_takes_settings_for_one_reply() -> None:
    repl = chat("a", "/regen temp=1.5 seed=9", "/regen", replies=("1", "2", "3"))
    sampled = [(one.temperature, one.seed) for one in scripted(repl).sampled]
    assert sampled == [(0.7, 0), (1.5, 9), (0.7, 1)]


def test_regen_keeps_the_reply_where_nothing_comes_in_its_place(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for failing in ("! x", "^C x"):
        repl = chat("a", "/regen", "b", replies=("1", failing, "3"))
        assert said(repl) == ["a", "1", "b", "3"]
        assert "(the reply before is kept)" in capsys.readouterr().err
    repl = chat("a", "/regen nonsense", "/regen temp=-1", replies=("1",))
    assert said(repl) == ["a", "1"]


def test_edit_asks_the_changed_question_in_the_place_of_the_old(
    editor: Callable[[str], None], tmp_path: Path
) -> None:
    editor(f'stat -c %a "$1" > {tmp_path}/mode; sed -i s/old/new/ "$1"')
    repl = chat("first", "old question", "/edit", replies=("1", "2", "3"))
    assert said(repl) == ["first", "1", "new question", "3"]
    assert (tmp_path / "mode").read_text() == "600\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["editor with blank", "mode"]


def test_edit_can_begin_a_new_question(editor: Callable[[str], None]) -> None:
    editor('printf "/not a command\\nsecond line\\n" > "$1"')
    repl = chat("a", "/edit new", replies=("1", "2"))
    assert said(repl) == ["a", "1", "/not a command\nsecond line", "2"]


@pytest.mark.parametrize("failing", ["! x", "^C x"])
def test_edit_keeps_the_old_question_where_no_reply_comes_to_the_new_one(
    failing: str, editor: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    editor('sed -i s/old/new/ "$1"')
    repl = chat("old one", "/edit", "b", replies=("1", failing, "3"))
    assert said(repl) == ["old one", "1", "b", "3"]
    assert "(the question before is kept, with its reply)" in capsys.readouterr().err
    repl = chat("old one", "/edit", "/regen", replies=("! x", failing, "3"))
    assert said(repl) == ["new one", "3"]


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("true", "unchanged"),
        (': > "$1"', "empty"),
        ("exit 3", "ended with code 3"),
        ('printf "\\377" > "$1"', "cannot be read"),
        ('rm "$1"', "cannot be read"),
    ],
)
def test_an_editor_that_leaves_nothing_asks_nothing(
    script: str, says: str, editor: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    editor(script)
    assert said(chat("a", "/edit", replies=("1",))) == ["a", "1"]
    assert says in capsys.readouterr().err


def test_an_editor_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("VISUAL", raising=False)
    for command in ("/nowhere/ed --wait", "'unclosed"):
        monkeypatch.setenv("EDITOR", command)
        chat("a", "/edit", replies=("1",))
        assert command in capsys.readouterr().err


def test_no_room_for_the_editors_file_is_told(
    editor: Callable[[str], None], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    editor("true")
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    assert said(chat("a", "/edit", replies=("1",))) == ["a", "1"]
    err = capsys.readouterr().err
    assert "no file can be made for the editor: No such file or directory" in err
    assert "fault" not in err


def test_raw_shows_markdown_and_control_characters_as_they_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    chat("a", "/raw", replies=("**bold**\n\x1b]0;owned\x07 \u202eabc é \U0001f600",))
    err = capsys.readouterr().err
    assert "**bold**\n\\x1b]0;owned\\x07 \\u202eabc é \U0001f600" in err
    chat("/raw", "/copy")
    assert capsys.readouterr().err.count("there is no reply yet") == 2


def test_copy_says_by_which_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, script in (("wl-copy", "exit 1"), ("xclip", f'cat > "{tmp_path}/copied"')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("WAYLAND_DISPLAY", "1")
    monkeypatch.setenv("DISPLAY", ":0")
    reply = "raw \x1b[31m**text**\n" + "é" * 80_000
    chat("a", "/copy", replies=(reply,))
    assert (tmp_path / "copied").read_text(encoding="utf-8") == reply
    err = capsys.readouterr().err
    assert f"({len(reply)} characters copied by xclip)" in err
    assert "wl-copy ended with code 1" in err
    assert "OSC 52 takes 74,994 bytes" in err


def test_a_clipboard_that_fails_is_no_fault_of_the_chat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = os.open

    def full(path: str, flags: int, *more: int) -> int:
        return real("/dev/full" if path == "/dev/tty" else path, flags, *more)

    (tmp_path / "wl-copy").write_bytes(b"\x7fELF no program")
    (tmp_path / "wl-copy").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("WAYLAND_DISPLAY", "1")
    monkeypatch.setattr("os.open", full)
    chat("a", "/copy", replies=("1",))
    err = capsys.readouterr().err
    assert "fault" not in err
    assert "wl-copy cannot be run: Exec format error" in err
    assert "OSC 52 cannot be sent: No space left on device" in err


def opened(*names: str) -> tuple[dict[str, Scripted], Callable[[str], Scripted]]:
    """Models that can be opened by name; `broken` is one with a fault of a library."""
    models = {name: Scripted("b", "c", name=name) for name in names}

    def opener(ref: str) -> Scripted:
        if ref == "broken":
            raise RuntimeError("CUDA error")
        if ref not in models:
            raise EnvironmentProblem(f"no memory for {ref}")
        return models[ref]

    return models, opener


def no_room_for_two(base: Path, monkeypatch: pytest.MonkeyPatch) -> Seating:
    """Every reference names the model in `base`, which fits into no memory beside another."""
    monkeypatch.setattr(fitting, "free_on", lambda device: Free(100))
    return Seating(
        find=lambda ref: ModelRef(ref, "folder", str(base)),
        recipe=lambda ref: Recipe(),
        load=lambda ref: Scripted(name=ref.name),
        output_root=base,
        device="cpu",
    )


def test_model_goes_on_with_the_conversation(capsys: pytest.CaptureFixture[str]) -> None:
    models, opener = opened("other")

    def check(ref: str) -> None:
        if ref == "typo":
            raise UsageError("no model 'typo'")

    first = Scripted("1")
    repl = chat("/model", "a", "/model typo", "/model other", "again", talker=first,
                opener=opener, check=check, system="s")  # fmt: skip
    assert repl.talker is models["other"]
    assert first.is_closed
    assert said(repl) == ["s", "a", "1", "again", "b"]
    err = capsys.readouterr().err
    assert "model: scripted (runs/scripted)" in err
    assert "no model 'typo'" in err
    assert "other · cpu · template zephyr 123" in err
    assert "the conversation of 2 messages goes on" in err


@pytest.mark.parametrize(("ref", "why"), [("large", "no memory for large"), ("broken", "CUDA")])
def test_the_model_stays_until_the_other_one_is_there(
    ref: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first = Scripted("1", "2")
    repl = chat("a", f"/model {ref}", "again", talker=first, opener=opened()[1])
    assert repl.talker is first
    assert said(repl) == ["a", "1", "again", "2"]
    err = capsys.readouterr().err
    assert why in err
    assert "opened again" not in err


@pytest.mark.parametrize(("ref", "why"), [("large", "no memory for large"), ("broken", "CUDA")])
def test_where_two_do_not_fit_the_model_before_is_opened_again(
    ref: str, why: str, tiny_base: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    models, opener = opened("runs/scripted")
    first = Scripted("1")
    repl = chat("a", f"/model {ref}", "again", talker=first, opener=opener,
                seating=no_room_for_two(tiny_base, monkeypatch))  # fmt: skip
    assert first.is_closed
    assert repl.talker is models["runs/scripted"]
    assert said(repl) == ["a", "1", "again", "b"]
    err = capsys.readouterr().err
    assert why in err
    assert "100 bytes of memory are free; so scripted is freed first" in err


def test_a_chat_without_a_model_keeps_the_conversation(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    models, opener = opened("small")
    repl = chat("a", "/model large", "b", "/status", "/template", f"/save {tmp_path / 'x'}",
                "/undo", "/model small", "c", replies=("1",), opener=opener,
                seating=no_room_for_two(tiny_base, monkeypatch))  # fmt: skip
    assert repl.talker is models["small"]
    assert said(repl) == ["a", "1", "c", "b"]
    assert capsys.readouterr().err.count("no model is open") == 2
    assert (tmp_path / "x").exists()


def test_load_says_what_it_replaces(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a chat.jsonl"
    chat("a", f"/save {path}", replies=("1",), system="s")
    repl = chat("b", f"/load {path}", replies=("2",))
    assert said(repl) == ["s", "a", "1"]
    assert "2 messages in the place of 2" in capsys.readouterr().err


def test_a_home_that_nobody_has_is_no_fault(capsys: pytest.CaptureFixture[str]) -> None:
    chat("a", "/save ~nobody-here/x", "/load ~nobody-here/x", replies=("1",))
    err = capsys.readouterr().err
    assert "fault" not in err
    assert err.count("error[usage]") == 2


@pytest.mark.parametrize(
    "command", ["new", "undo", "status", "stats", "copy", "history", "raw", "template", "quit"]
)
def test_words_after_a_command_that_takes_none_are_refused(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    repl = chat("a", f"/{command} 3", replies=("1",))
    assert f"/{command} takes nothing after it, not '3'" in capsys.readouterr().err
    assert said(repl) == ["a", "1"]
    assert not repl.left


def test_a_conversation_without_a_word_has_a_history_that_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    chat("/history")
    assert "(nothing was asked yet)" in capsys.readouterr().err


def test_a_setting_alone_is_shown_and_a_wrong_value_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for line, answer in (
        ("/set temp", "temperature 0.7"),
        ("/set temp warm", "temperature takes a number, not 'warm'"),
        ("/set top_k 0.5", "top_k takes a whole number, not '0.5'"),
        ("/set top_p 3", "top_p must be less than or equal to 1, not '3'"),
        ("/set seed -1", "seed takes a whole number from 0 on, not '-1'"),
    ):
        chat(line)
        assert answer in capsys.readouterr().err


def test_a_loaded_question_without_a_reply_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "open.jsonl"
    path.write_text('{"messages": [{"role": "user", "content": "a"}]}\n')
    repl = chat(f"/load {path}", "/regen", replies=("1",))
    err = capsys.readouterr().err
    assert "(1 message; /history shows them)" in err
    assert "without a reply: /regen answers it" in err
    assert said(repl) == ["a", "1"]


def test_regen_with_settings_leaves_the_seed_of_the_chat() -> None:
    repl = chat("a", "/regen seed=3 temp=1.2", "b", "/regen", replies=("1", "2", "3", "4"))
    assert [one.seed for one in scripted(repl).sampled] == [0, 3, 0, 1]
    assert repl.sampling.seed == 1


def test_a_slip_in_a_command_is_answered_as_it_is_typed(capsys: pytest.CaptureFixture[str]) -> None:
    chat("/hel")
    assert "did you mean '/help'?" in capsys.readouterr().err


def test_status_of_a_service_tells_what_is_not_sent_and_not_known(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Elsewhere(Scripted):
        weight_bytes: int | None = None

    repl = chat("hi", talker=Elsewhere("x"))
    repl.totals.used = None
    CHAT_COMMANDS.load("status")(repl, "")
    err = capsys.readouterr().err
    assert "top_k not sent" in err
    assert "unknown: a service tells its count at the end of a reply" in err
    chat("hi", "/status", replies=("x",))
    err = capsys.readouterr().err
    assert f"top_k {Sampling().top_k}" in err
    assert "with the frame of the next turn" in err


def test_a_limit_beyond_the_context_is_said_to_be_bounded_by_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    chat("/set max_new_tokens 59")
    assert "the context of 60 tokens" not in capsys.readouterr().err
    chat("/set max_new_tokens 5000")
    assert "(the context of 60 tokens, prompt and reply together" in capsys.readouterr().err
