"""Every way a command can end: one message, one exit code, clean streams."""

import errno
import json
import os
import subprocess
import sys

import pytest
import typer

from zephyrctl import __version__, errors
from zephyrctl.cli import commands
from zephyrctl.cli.topics import TOPICS


@pytest.fixture
def failing(cli, monkeypatch):
    """`failing(exception, *args)`: what is shown when a command raises `exception`."""

    def run(exception: BaseException, *args: str):
        def stub(*_args, **_kwargs):
            raise exception

        monkeypatch.setattr(commands, "app", stub)
        return cli(*args)

    return run


def test_the_version_is_one_line_on_stdout(cli):
    outcome = cli("--version")

    assert (outcome.code, outcome.out, outcome.err) == (0, f"zephyrctl {__version__}\n", "")


def test_help_lists_every_command_once_under_its_panel(cli):
    outcome = cli("--help")

    assert outcome.code == 0
    for panel in ("Start:", "Stages:", "Results:", "More:"):
        assert f"\n{panel}\n" in outcome.out
    for _, name, _ in commands.COMMANDS:
        assert outcome.out.count(f"\n  {name} ") == 1


def test_without_a_command_the_help_is_shown_and_it_is_a_usage_error(cli):
    outcome = cli()

    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.startswith("Usage: zephyrctl")


@pytest.mark.parametrize(
    ("args", "message", "where"),
    [
        (["confg"], "no such command 'confg'. Did you mean 'config'?", "zephyrctl"),
        (["config", "shw"], "no such command 'shw'. Did you mean 'show'?", "zephyrctl config"),
        (["config", "check", "--lrr"], "no such option: --lrr", "zephyrctl config check"),
        (["recipes", "show"], "missing argument 'NAME'", "zephyrctl recipes show"),
        (["chat", "@dpo", "--prompt"], "option '--prompt' requires an argument", "zephyrctl chat"),
        (["runs", "list", "--output-root"], "option '--output-root' req", "zephyrctl runs list"),
        (["--color"], "option '--color' requires an argument", "zephyrctl"),
        (["config", "check", "extra"], "got unexpected extra argument", "zephyrctl config check"),
    ],
)
def test_usage_errors_are_ours_in_form(cli, args, message, where):
    outcome = cli(*args)

    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.startswith(f"error[usage]: {message}")
    assert f"  --> {where}\n" in outcome.err
    assert f"  hint: {where} --help" in outcome.err


def test_a_usage_error_under_json_is_one_object_on_stdout(cli):
    outcome = cli("config", "check", "--lrr", "--json")

    assert outcome.err == ""
    assert json.loads(outcome.out)["error"]["kind"] == "usage"
    assert outcome.out.count("\n") == 1


@pytest.mark.parametrize(
    "error",
    [cls("what", where="place", hint="next") for cls in errors._tree(errors.ZephyrctlError)],
    ids=lambda error: error.kind,
)
def test_each_error_of_ours_ends_with_its_own_code(failing, error):
    outcome = failing(error)

    assert outcome.code == error.exit_code
    assert outcome.err == f"error[{error.kind}]: what\n  --> place\n  hint: next\n"


def test_several_problems_are_all_shown_and_all_in_the_object(failing):
    error = errors.ConfigError.of([errors.Problem("one", "a:1:1"), errors.Problem("two", "b:2:2")])

    assert failing(error).err.count("error[config]") == 2
    found = json.loads(failing(error, "--json").out)["error"]
    assert [problem["message"] for problem in found["problems"]] == ["one", "two"]


def test_an_unexpected_exception_is_one_line_with_a_way_to_see_more(failing):
    outcome = failing(RuntimeError("boom\x1b[31m"))

    assert outcome.code == 1
    assert "error[internal]: this is a fault in zephyrctl (RuntimeError: boom)" in outcome.err
    assert "ZEPHYRCTL_DEBUG=1" in outcome.err
    assert "Traceback" not in outcome.err
    assert "\x1b" not in outcome.err


def test_the_traceback_is_shown_on_request(failing, monkeypatch):
    monkeypatch.setenv("ZEPHYRCTL_DEBUG", "1")

    assert "Traceback" in failing(RuntimeError("boom")).err


def test_a_full_disk_is_73(failing):
    assert failing(OSError(errno.ENOSPC, "No space left on device", "/x")).code == 73


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_file_that_may_not_be_touched_is_no_fault_of_the_program(failing, number):
    outcome = failing(OSError(number, "Read-only file system", "/frozen/runs/a/.lock"))

    assert outcome.code == 3
    assert outcome.err.startswith("error[environment]: a file cannot be read or written (Read-only")
    assert "--> /frozen/runs/a/.lock" in outcome.err
    assert "hint: ls -ld /frozen/runs/a /frozen/runs/a/.lock" in outcome.err


@pytest.mark.parametrize("exception", [KeyboardInterrupt(), typer.Abort()])
def test_ctrl_c_is_130(failing, exception):
    outcome = failing(exception)

    assert outcome.code == 130
    assert outcome.err == "error[interrupted]: interrupted\n"


def test_a_reader_that_leaves_early_is_no_error():
    read, write = os.pipe()
    os.close(read)

    finished = subprocess.run(
        [sys.executable, "-m", "zephyrctl", "config", "show", "--recipe", "tiny"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)

    assert finished.returncode == 0
    assert "Traceback" not in finished.stderr
    assert "Broken pipe" not in finished.stderr


@pytest.mark.parametrize("topic", TOPICS)
def test_help_topics_are_printed(cli, topic):
    outcome = cli("help", topic)

    assert outcome.code == 0
    assert len(outcome.out.splitlines()) > 5


def test_the_exit_codes_of_the_topic_are_those_of_the_errors():
    codes = {line.split()[0] for line in TOPICS["exit-codes"].splitlines() if line[:3].strip()}
    codes |= {line.split()[0] for line in TOPICS["exit-codes"].splitlines() if line[:2] == "  "}

    for cls in errors._tree(errors.ZephyrctlError):
        assert str(cls.exit_code) in codes


def test_an_unknown_topic_names_the_nearest(cli):
    outcome = cli("help", "exit-code")

    assert outcome.code == 2
    assert "did you mean 'exit-codes'?" in outcome.err


def test_colour_is_off_away_from_a_terminal_and_on_by_request(cli):
    assert "\x1b" not in cli("config", "check", "--set", "a=1").err
    assert "\x1b[1;31merror" in cli("--color", "always", "config", "check", "--set", "a=1").err


def test_an_error_under_json_that_cannot_be_written_is_told_on_stderr(cli, monkeypatch):
    monkeypatch.setattr("sys.stdout", None)

    outcome = cli("config", "check", "--lrr", "--json")

    assert outcome.code == 2
    assert outcome.err.startswith("error[usage]: no such option: --lrr")
