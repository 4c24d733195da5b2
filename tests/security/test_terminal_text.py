"""Text of models, data, services and files can neither steer the terminal nor break our output.

`safe` and its streaming form are fuzzed; then hostile text goes through every command that shows
text which is not ours.
"""

import copy
import itertools
import json
import re
from pathlib import Path

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import fakes
from tests.cli.conftest import Cli
from tests.cli.test_data_tables import ACCOUNT as COUNTED
from tests.fakes import FakeEndpoint
from tests.reports.run_files import finish_stage, make_full_run, make_run

from zephyrctl import terminal
from zephyrctl.chat.repl import Repl
from zephyrctl.chat.session import Session
from zephyrctl.chat.talker import open_endpoint
from zephyrctl.cli.commands import COMMANDS as COMMAND_TABLE
from zephyrctl.cli.options import APP
from zephyrctl.generation.sampling import Sampling
from zephyrctl.runs.atomic import append_jsonl, write_json
from zephyrctl.runs.store import Run

FORBIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""C0 but tab and newline, DEL, C1, bidirectional controls, lone surrogates."""
ESCAPES = (
    "\x1b]0;owned\x07", "\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\",
    "\x1b]52;c;cm0gLXJmIH4=\x07", "\x1b[2J\x1b[H", "\x9b2J", "\x9d0;t\x9c", "\x1bP1$r\x1b\\",
    "\u202egnp.exe\u2066", "visible\rhidden", "\x07\x08\x00\x7f", "\ud800",
)  # fmt: skip
MARKUP = "[/INST] [link=http://evil.example]x[/link] [red]y [/] :smile: {{ 7*7 }} %s"
EVIL = MARKUP + " ".join(ESCAPES)

SIGNS = (
    "\x1b", "]", "[", "0;", "8;;", "\\", "\x07", "\x9b", "\x9c", "\x9d", "P", "2J", "\n", "\r",
    "\t", "\u202e", "\ud800", "(0", "a", "é", "東",
)  # fmt: skip
hostile_text = st.lists(st.sampled_from(SIGNS) | st.text(max_size=3), max_size=30).map("".join)


@settings(deadline=None)
@given(hostile_text)
def test_what_is_shown_is_safe_and_stays_as_it_is(text: str) -> None:
    shown = terminal.safe(text)
    assert FORBIDDEN.search(shown) is None
    assert terminal.safe(shown) == shown


@settings(deadline=None)
@given(hostile_text, st.lists(st.integers(0, 90), max_size=8))
def test_where_a_stream_is_cut_does_not_matter(text: str, cuts: list[int]) -> None:
    stream = terminal.SafeStream()
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    shown = [stream.feed(text[a:b]) for a, b in itertools.pairwise(edges)]
    assert all(FORBIDDEN.search(part) is None for part in shown)
    assert "".join(shown) + stream.close() == terminal.safe(text)


@settings(deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cc", "Cf", "Cs"]), max_size=60))
def test_ordinary_text_of_every_script_is_left_alone(text: str) -> None:
    assert terminal.safe(text) == text


def assert_safe(*texts: str) -> None:
    for text in texts:
        found = FORBIDDEN.search(text)
        assert found is None, f"{found[0]!r} in {text[max(0, found.start() - 80) :][:200]!r}"


@pytest.fixture
def evil_run(cli: Cli, tmp_path: Path) -> Run:
    """A finished run in `runs/` of the working folder, hostile wherever text can stand."""
    del cli
    run = make_full_run(tmp_path / "work")
    error = {"kind": EVIL, "message": EVIL, "where": EVIL, "hint": EVIL, "code": 1}
    finish_stage(run, "data", notices=[EVIL], metrics={EVIL: 1.0}, versions={EVIL: EVIL})
    finish_stage(run, "dpo", state="failed", error=error, notices=[EVIL])
    part = copy.deepcopy(COUNTED["dpo"])
    part["sources"][0] |= {"path": EVIL, "split": EVIL, "format": EVIL}
    part["removed"] = {"duplicate": 3, EVIL: 1}
    part["samples"] = {EVIL: [{"where": EVIL, "text": EVIL}]}
    part["matches"] = [{"where": EVIL, "list": EVIL, "prompt": EVIL, "how": EVIL}]
    lists = [{"name": EVIL, "status": "NOT CHECKED", "prompts": 0, "reason": EVIL}]
    account = {**COUNTED, "dpo": part, "decontamination": lists, "notices": [EVIL]}
    write_json(run.root / "data" / "account.json", account)
    for stage in ("sft", "dpo"):
        folder = run.stage(stage)
        append_jsonl(folder.samples_path, {"step": 61, "prompt": EVIL, "completion": EVIL})
        append_jsonl(folder.events_path, {"event": "stopped", "t": 1.0, "text": EVIL})
        record = {"kind": "notice", "t": 1.0, "step": 3, "text": EVIL}
        append_jsonl(folder.metrics_path, record)
        folder.logs.mkdir(parents=True)
        log = (EVIL + "\n").encode("utf-8", "surrogatepass") + b"\xff\xfe\n" + b"z" * 2**20
        (folder.logs / "rank0.log").write_bytes(log)
    answers = run.root / "eval" / "rules" / "dpo"
    (answers / "answers.jsonl").unlink()
    (answers / "code" / "judgments.jsonl").unlink()
    for at in range(10):
        key = {"question_id": f"q{at}", "turn": 1}
        append_jsonl(answers / "answers.jsonl", {**key, "answer": EVIL, "tokens": 4, "stopped": 1})
        checks = [{"name": EVIL, "found": EVIL}]
        said = {"passed": False, "category": EVIL, "checks": checks, "prompt": EVIL}
        append_jsonl(answers / "code" / "judgments.jsonl", {**key, **said})
    return run


COMMANDS = [
    ("runs", "show", "demo"), ("runs", "show", "demo", "--samples"),
    ("runs", "logs", "demo", "--stage", "sft"), ("runs", "watch", "demo", "--progress", "plain"),
    ("runs", "compare", "demo", "other"), ("eval", "show", "demo"),
    ("eval", "show", "demo:dpo", "--against", "sft"),
    ("data", "stats", "--recipe", "tiny", "--set", "name=demo", "--samples"),
]  # fmt: skip
WITHOUT_JSON = ("logs", "watch")


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_hostile_text_of_a_run_is_text_in_every_view(
    cli: Cli, evil_run: Run, words: tuple[str, ...]
) -> None:
    make_run(evil_run.root.parent / "other")

    done = cli(*words)

    assert done.code == 0, done.err
    assert_safe(done.out, done.err)
    assert "[/INST]" in done.out + done.err
    if not set(WITHOUT_JSON) & set(words):
        record = cli(*words, "--json")
        assert_safe(record.out, record.err)
        assert record.out.isascii()
        json.loads(record.out)


@pytest.mark.parametrize("words", [("runs", "list"), ("report", "demo")], ids=" ".join)
def test_a_hostile_run_does_not_stop_what_shows_little_of_it(
    cli: Cli, evil_run: Run, words: tuple[str, ...]
) -> None:
    done = cli(*words)
    assert done.code == 0, done.err
    assert_safe(done.out, done.err)
    assert evil_run.name in done.out + done.err


ARGUMENT = EVIL.replace("\x00", "").replace("\ud800", "\udcff")
"""What a shell can hand over: no NUL, and bytes that are no UTF-8 as Python decodes them."""


@pytest.mark.parametrize(
    "words",
    [
        ("{}",), ("--color", "{}", "doctor"), ("help", "{}"), ("recipes", "show", "{}"),
        ("runs", "show", "{}"), ("runs", "logs", "{}"), ("runs", "rm", "{}", "--yes"),
        ("config", "explain", "{}"), ("config", "check", "--set", "{}"),
        ("config", "check", "--set", "name={}"), ("config", "check", "--set", "sft.packing={}"),
        ("config", "check", "-c", "{}.yaml"), ("config", "convert", "{}"),
        ("models", "fetch", "{}"),
        ("chat", "{}", "-p", "Hi"), ("export", "merged", "{}"), ("eval", "show", "{}"),
        ("eval", "compare", "{}", "x"), ("report", "{}"), ("data", "stats", "--recipe", "{}"),
        ("--trust-remote-code", "{}", "doctor"), ("run", "--recipe", "tiny", "--gpus", "{}"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_hostile_arguments_are_repeated_safely(cli: Cli, words: tuple[str, ...]) -> None:
    done = cli(*(word.format(ARGUMENT) for word in words))
    assert done.code in (2, 3, 5), done.err
    assert_safe(done.out, done.err)
    assert done.err.count("error[") == 1
    assert "fault in zephyrctl" not in done.err


def test_hostile_keys_and_values_of_a_file_are_repeated_safely(cli: Cli) -> None:
    Path("zephyr.yaml").write_text(
        '"\\e]0;owned\\a\\u202e[/INST]": 1\nname: "\\e[2J"\nmodel: {base: "\\e]52;c;AA\\a"}\n'
        'sft: {packing: "\\e[31m[/INST]"}\n'
    )
    done = cli("config", "check")
    assert done.code == 2
    assert_safe(done.out, done.err)
    assert "[/INST]" in done.err


def test_a_value_that_is_only_strange_is_shown_safely(cli: Cli) -> None:
    Path("zephyr.yaml").write_text('chat: {system: "[/INST] \\e]0;owned\\a\\u202e"}\n')
    for words in (("show",), ("show", "--origin"), ("explain", "chat.system"), ("show", "--json")):
        done = cli("config", *words)
        assert done.code == 0, done.err
        assert_safe(done.out, done.err)


def test_a_services_answers_and_errors_are_shown_safely(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeEndpoint(answer=lambda _: EVIL) as server:
        for more in ((), ("--json",)):
            done = cli("chat", "fake", "--url", server.url, "-p", "Hi", *more)
            assert done.code == 0, done.err
            assert_safe(done.out, done.err)
            assert "[/INST]" in done.out
    monkeypatch.setitem(fakes.STATUS_OF, "400", (400, EVIL))
    with FakeEndpoint(always="400") as server:
        done = cli("chat", "fake", "--url", server.url, "-p", "Hi")
    assert done.code == 2
    assert "[/INST]" in done.err
    assert_safe(done.out, done.err)


def test_a_sequence_that_a_stream_cuts_in_pieces_never_shows(
    capsys: pytest.CaptureFixture[str],
) -> None:
    cut = " ".join(f"see {text[:1]} {text[1:]}" for text in ESCAPES)
    asked = iter(["Hi"])
    with FakeEndpoint(answer=lambda _: f"{cut} [/INST] end. {'x' * 2**20}") as server:
        talker = open_endpoint(server.spec)

        def read(sign: str) -> str:
            del sign
            return next(asked, "/quit")

        Repl(talker, Sampling(0.0, max_new_tokens=10**6), Session(None), read=read).run()
    shown = capsys.readouterr()
    assert_safe(shown.out, shown.err)
    assert "[/INST] end." in shown.out
    assert "x" * 2**20 in shown.out


def test_help_takes_markup_in_a_docstring_literally(capsys: pytest.CaptureFixture[str]) -> None:
    app = typer.Typer(**APP)

    @app.command()
    def show() -> None:
        """Answer [/INST] [link=http://evil.example]x[/link]."""

    app(["--help"], standalone_mode=False)
    assert "[/INST] [link=http://evil.example]x[/link]." in capsys.readouterr().out
    for _, name, target in COMMAND_TABLE:
        if isinstance(target, typer.Typer):
            assert target.rich_markup_mode is None, name
