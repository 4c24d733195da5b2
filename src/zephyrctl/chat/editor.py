"""How is a text changed in the user's own editor?"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from zephyrctl.errors import EnvironmentProblem, UsageError


def edit(text: str, *, env: Mapping[str, str]) -> str:
    """`text` as it was left in `$VISUAL`, else `$EDITOR`, else vi; without the last line's end.

    The file that is edited is the user's alone and is removed in the end. UsageError where the
    editor cannot be started, or ends with an error.
    """
    command = env.get("VISUAL") or env.get("EDITOR") or "vi"
    try:
        argv = shlex.split(command) or ["vi"]
    except ValueError as error:
        raise UsageError(f"$VISUAL or $EDITOR cannot be read: {error}", where=command) from None
    with _file_of(text) as path:
        with _keyboard_is_the_editors():
            try:
                code = subprocess.run([*argv, str(path)], check=False).returncode
            except OSError as error:
                raise EnvironmentProblem(
                    f"the editor cannot be started: {error.strerror}",
                    where=command,
                    hint="export EDITOR=nano",
                ) from None
        if code:
            raise UsageError(f"the editor ended with code {code}: nothing is asked", where=command)
        try:
            return path.read_text(encoding="utf-8").removesuffix("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"what the editor left cannot be read: {error}") from None


@contextmanager
def _file_of(text: str) -> Iterator[Path]:
    """A file with mode 0600. Its folder goes with it, because editors leave copies beside a
    file."""
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="zephyrctl-"))
            path = Path(folder) / "question.md"
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as stream:
                stream.write(text)
        except OSError as error:
            raise EnvironmentProblem(
                f"no file can be made for the editor: {error.strerror}",
                hint="export TMPDIR=FOLDER   (one with room)",
            ) from None
        yield path


@contextmanager
def _keyboard_is_the_editors() -> Iterator[None]:
    """Ctrl-C in the editor is not meant for the chat. A handler rather than SIG_IGN, which the
    editor would inherit."""
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
