"""The root command: what there is, and how every error ends in one message and one exit code."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
import typer.core

from zephyrctl import __version__, terminal
from zephyrctl.cli import (
    chat,
    config,
    data,
    doctor,
    evaluate,
    init,
    models,
    plan,
    recipes,
    report,
    run,
    runs,
    topics,
    train,
)
from zephyrctl.cli.options import APP
from zephyrctl.errors import DiskFull, Interrupted, UsageError, ZephyrctlError

# Every command of the tool, in the order of `zephyrctl --help`. One line each.
COMMANDS: tuple[tuple[str, str, typer.Typer | Callable[..., None]], ...] = (
    ("Start", "init", init.init),
    ("Start", "recipes", recipes.app),
    ("Start", "config", config.app),
    ("Start", "doctor", doctor.doctor),
    ("Start", "plan", plan.plan),
    ("Start", "models", models.app),
    ("Stages", "run", run.run),
    ("Stages", "data", data.app),
    ("Stages", "sft", train.sft),
    ("Stages", "dpo", train.dpo),
    ("Stages", "eval", evaluate.app),
    ("Stages", "chat", chat.chat),
    ("Results", "runs", runs.app),
    ("Results", "report", report.report),
    ("More", "help", topics.show),
)


class GroupedHelp(typer.core.TyperGroup):
    """Lists commands by their panel; without Rich markup Typer itself shows one long list."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        widest = max(len(name) for name in self.commands)
        for panel in dict.fromkeys(panel for panel, _, _ in COMMANDS):
            names = [name for home, name, _ in COMMANDS if home == panel]
            with formatter.section(panel):
                rows = [(name, self.commands[name].get_short_help_str(200)) for name in names]
                formatter.write_dl([(f"{name:<{widest}}", text) for name, text in rows])


app = typer.Typer(cls=GroupedHelp, **{**APP, "add_completion": True})


def _show_version(asked: bool) -> None:
    if asked:
        terminal.out(f"zephyrctl {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", "-V", callback=_show_version, is_eager=True, help="Print it."),
    ] = False,
    color: Annotated[
        Literal["auto", "always", "never"], typer.Option(help="When to use colour.")
    ] = "auto",
) -> None:
    """From a base language model to an aligned, measured chat model, by the Zephyr recipe.

    The first run: zephyrctl run --recipe first-run, then zephyrctl chat @dpo
    """
    terminal.set_color(color)


for _, _name, _target in COMMANDS:
    if isinstance(_target, typer.Typer):
        app.add_typer(_target, name=_name)
    else:
        app.command(_name)(_target)


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0, or the code of the error that ended it."""
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _run(args)
    except ZephyrctlError as error:
        code = _report(error, as_json=_wants_json(args))
    sys.exit(code)


def _run(args: list[str]) -> int:
    """The exit code of a command that did not fail; a ZephyrctlError otherwise."""
    try:
        result = app(args, prog_name="zephyrctl", standalone_mode=False)
    except ZephyrctlError:
        raise
    except typer.TyperException as error:
        return _usage(error)
    except (KeyboardInterrupt, typer.Abort):
        raise Interrupted("interrupted") from None
    except BrokenPipeError:
        _silence_stdout()
        return 0
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull("no space left on the disk", where=error.filename) from error
        raise _internal(error) from error
    except Exception as error:
        raise _internal(error) from error
    # Typer turns Ctrl-C into this exit code itself.
    if result == Interrupted.exit_code:
        raise Interrupted("interrupted")
    return result if isinstance(result, int) else 0


def _usage(error: typer.TyperException) -> int:
    message = error.format_message()
    if message.startswith("Usage:"):  # a group without a command: its help is the answer
        terminal.say(message)
        return UsageError.exit_code
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "zephyrctl"
    sentence = message[:1].lower() + message[1:].rstrip(".")
    raise UsageError(sentence, where=command, hint=f"{command} --help") from error


def _internal(error: BaseException) -> ZephyrctlError:
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return ZephyrctlError(
        f"this is a fault in zephyrctl ({text[:500]})",
        where=f"{Path(frame.filename).name}:{frame.lineno}",
        hint="ZEPHYRCTL_DEBUG=1 in front of the command shows the traceback",
    )


def _report(error: ZephyrctlError, *, as_json: bool) -> int:
    if os.environ.get("ZEPHYRCTL_DEBUG") == "1":
        terminal.say("".join(traceback.format_exception(error)), end="")
    if as_json:
        terminal.emit_json({"error": error.to_json()})
    else:
        terminal.say_error(error)
    return error.exit_code


def _wants_json(args: list[str]) -> bool:
    before = args[: args.index("--")] if "--" in args else args
    return "--json" in before


def _silence_stdout() -> None:
    """What the interpreter still flushes at its end goes nowhere: the reader has left."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
