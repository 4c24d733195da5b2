"""What was typed in chats before, and where is it kept?

One JSON line each, in a file of the user's alone. Several chats may append at once: each append is
one write under a lock. The file is cut to its newest part when a chat begins, so that it stays
small enough to be read in a moment.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from zephyrctl.sizes import MIB, size_words

MOST_ENTRIES = 2000
MOST_BYTES = MIB
_PRIVATE = 0o600


def history_path(env: Mapping[str, str]) -> Path:
    """The file of the history: in `XDG_STATE_HOME`, else in `~/.local/state`."""
    given = env.get("XDG_STATE_HOME", "")
    # The XDG base directory specification: a relative path is to be ignored.
    state = Path(given) if Path(given).is_absolute() else _home() / ".local" / "state"
    return state / "zephyrctl" / "chat_history.jsonl"


def _home() -> Path:
    """The user's folder; `/` for one who has none, as in a container: there it is said that
    nothing can be kept."""
    try:
        return Path.home()
    except RuntimeError:
        return Path("/")


@dataclass
class TypedBefore:
    """The history on disk; `entries` are oldest first.

    `problems` tells what is wrong with the file, in sentences for the user: a chat goes on
    without what cannot be read or kept.
    """

    path: Path
    entries: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    is_kept: bool = True
    """False where the file cannot be used: what is typed is remembered for this chat alone."""

    def add(self, text: str) -> str | None:
        """Keep a text, unless it is the same as the last one or as large as the whole file may be;
        returns why it could not be kept."""
        if self.entries and self.entries[-1] == text:
            return None
        self.entries.append(text)
        if not self.is_kept:
            return None
        line = _line(text)
        if len(line) > MOST_BYTES:
            return f"not kept in the history: longer than {size_words(MOST_BYTES)}"
        try:
            with _locked(self.path) as descriptor:
                # A line that a kill has torn must not swallow the next one.
                if not _ends_a_line(descriptor):
                    line = b"\n" + line
                os.write(descriptor, line)
        except OSError as error:
            return f"the history cannot be written: {error.strerror} ({self.path})"
        return None


def open_history(path: Path) -> TypedBefore:
    """The newest part of what is kept at `path`; makes the file, and cuts it where it is large."""
    found = TypedBefore(path)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(path) as descriptor:
            lines = _read_all(descriptor).splitlines(keepends=True)
            kept = _newest(lines)
            if len(kept) < len(lines):
                _rewrite(descriptor, b"".join(kept))
    except OSError as error:
        found.is_kept = False
        found.problems.append(f"no history: {error.strerror} ({path})")
        return found
    read = [_text(line) for line in kept]
    found.entries = [text for text in read if text is not None]
    if broken := len(read) - len(found.entries):
        found.problems.append(
            f"{broken} line{'s' if broken > 1 else ''} of the history cannot be read ({path})"
        )
    return found


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The file, open for reading and appending, with no other chat writing to it."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
    descriptor = os.open(path, flags, _PRIVATE)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with suppress(OSError):  # of another user, or of a file system without modes
            os.fchmod(descriptor, _PRIVATE)
        yield descriptor
    finally:
        os.close(descriptor)


def _read_all(descriptor: int) -> bytes:
    with os.fdopen(os.dup(descriptor), "rb") as stream:
        return stream.read()


def _ends_a_line(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    return size == 0 or os.pread(descriptor, 1, size - 1) == b"\n"


def _rewrite(descriptor: int, content: bytes) -> None:
    """Replace the content under the lock. The file itself stays, because another chat may wait
    for a lock on it. A kill in between costs history, which is no one's work."""
    os.ftruncate(descriptor, 0)
    os.write(descriptor, content)


def _newest(lines: list[bytes]) -> list[bytes]:
    """The last lines within both limits."""
    size = 0
    for number, line in enumerate(reversed(lines)):
        size += len(line)
        if number == MOST_ENTRIES or size > MOST_BYTES:
            return lines[len(lines) - number :]
    return lines


def _line(text: str) -> bytes:
    return json.dumps({"text": text}).encode() + b"\n"


def _text(line: bytes) -> str | None:
    try:
        text = json.loads(line)["text"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return text if isinstance(text, str) else None
