"""How every command ends: one message and one exit code, printed here and nowhere else."""

from __future__ import annotations

import errno
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zephyrctl import __version__, terminal
from zephyrctl.errors import (
    DiskFull,
    EnvironmentProblem,
    Interrupted,
    UsageError,
    ZephyrctlError,
)

if TYPE_CHECKING:
    from typer import TyperException

_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0, or the code of the error that ended it."""
    args = list(sys.argv[1:] if argv is None else argv)
    if args in (["--version"], ["-V"]):  # without the 60 ms of the commands
        terminal.out(f"zephyrctl {__version__}")
        sys.exit(0)
    try:
        code = _run(args)
    except ZephyrctlError as error:
        code = _report(error, as_json=_wants_json(args))
    except KeyboardInterrupt:  # while the commands are imported, or an error is printed
        code = Interrupted.exit_code
    sys.exit(code)


def _run(args: list[str]) -> int:
    """The exit code of a command that did not fail; a ZephyrctlError otherwise."""
    import typer

    from zephyrctl.cli.commands import app, path_in

    try:
        result = app(args, prog_name="zephyrctl", standalone_mode=False)
    except ZephyrctlError:
        raise
    except typer.TyperException as error:
        return _usage(error, path_in(args))
    except (KeyboardInterrupt, typer.Abort):
        raise Interrupted("interrupted") from None
    except BrokenPipeError:
        _silence_stdout()
        return 0
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull("no space left on the disk", where=error.filename) from error
        if error.errno in _FORBIDDEN and error.filename:
            raise _no_access(error) from error
        raise _internal(error) from error
    except Exception as error:
        raise _internal(error) from error
    # Typer turns Ctrl-C into this exit code itself.
    if result == Interrupted.exit_code:
        raise Interrupted("interrupted")
    return result if isinstance(result, int) else 0


def _usage(error: TyperException, called: str) -> int:
    """Say what is wrong with a command line; `called` is its command, where the error has none."""
    message = error.format_message()
    if message.startswith("Usage:"):  # a group without a command: its help is the answer
        terminal.say(message)
        return UsageError.exit_code
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else called
    message = message.replace(": Value error, ", ": ")  # Pydantic's word for what we raise
    sentence = message[:1].lower() + message[1:].rstrip(".")
    raise UsageError(sentence, where=command, hint=f"{command} --help") from error


def _no_access(error: OSError) -> ZephyrctlError:
    place = Path(os.fsdecode(error.filename))
    return EnvironmentProblem(
        f"a file cannot be read or written ({error.strerror})",
        where=str(place),
        hint=f"ls -ld {shlex.join((str(place.parent), str(place)))}",
    )


def _internal(error: BaseException) -> ZephyrctlError:
    import traceback  # 20 ms that only a failure should cost

    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return ZephyrctlError(
        f"this is a fault in zephyrctl ({text[:500]})",
        where=f"{Path(frame.filename).name}:{frame.lineno}",
        hint="ZEPHYRCTL_DEBUG=1 in front of the command shows the traceback",
    )


def _report(error: ZephyrctlError, *, as_json: bool) -> int:
    if os.environ.get("ZEPHYRCTL_DEBUG") == "1":
        import traceback

        terminal.say("".join(traceback.format_exception(error)), end="")
    if as_json:
        try:
            terminal.emit_json({"error": error.to_json()})
        except ZephyrctlError:  # stdout is full or closed: stderr is left
            terminal.say_error(error)
    else:
        terminal.say_error(error)
    return error.exit_code


def _wants_json(args: list[str]) -> bool:
    before = args[: args.index("--")] if "--" in args else args
    return "--json" in before


def _silence_stdout() -> None:
    """What the interpreter still flushes at its end goes nowhere: the reader has left."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
