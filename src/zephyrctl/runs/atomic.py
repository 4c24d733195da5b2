"""How does a file reach the disk whole or not at all?

A file is written beside its place, synced, and renamed over it; a folder likewise. A JSONL file
is appended to in single writes, and a line torn by a kill is repaired by the next append.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zephyrctl.errors import DataError, DiskFull, quoted
from zephyrctl.sizes import size_words
from zephyrctl.terminal import finite

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the operating system says where a file may not grow: full, a quota, a limit of size."""
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
"""What it says on a file system without a second name for a file: exFAT, some of a network."""


@contextmanager
def disk_full_is_an_error(path: Path, *, needed: int | None = None) -> Iterator[None]:
    """Turn the operating system's "no space left" into DiskFull that names `path`, and the bytes
    that are `needed` where they are known."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        folder = _existing_parent(path)
        free = size_words(shutil.disk_usage(folder).free)
        raise DiskFull(
            f"no space left to write {path.name} ({error.strerror})"
            + (f": {needed:,} bytes are needed" if needed is not None else ""),
            where=f"{path} ({free} free)",
            hint=f"df -h {quoted(folder)}",
        ) from error


def dumps(value: Any, *, indent: int | None = None) -> str:
    """JSON text: UTF-8 kept readable, non-finite numbers as null."""
    return json.dumps(finite(value), ensure_ascii=False, allow_nan=False, indent=indent)


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` by `content` in one step; its folder is made where it is missing."""
    with _beside(path, content) as temporary:
        temporary.replace(path)


def create_text(path: Path, text: str) -> None:
    """Make a file of UTF-8 text, whole or not at all; FileExistsError where `path` is taken, also
    by a file that came meanwhile."""
    with _beside(path, text.encode("utf-8", errors="backslashreplace")) as temporary:
        try:
            os.link(temporary, path)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
            temporary.replace(path)


@contextmanager
def _beside(path: Path, content: bytes) -> Iterator[Path]:
    """A file with `content` beside `path`, on the disk, for the block to give it its name."""
    with disk_full_is_an_error(path, needed=len(content)):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f".{path.name}.partial-{_mark()}"
        try:
            with temporary.open("xb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` in UTF-8, whole or not at all."""
    # A lone surrogate (a broken upstream string) must not stop a report from being written.
    write_bytes(path, text.encode("utf-8", errors="backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by one indented JSON document, whole or not at all.

    A lone surrogate becomes U+FFFD: pydantic reads no document that holds one, and an error's text
    with foreign words in it must not make a manifest unreadable.
    """
    text = dumps(value, indent=2).encode("utf-16", errors="surrogatepass")
    write_text(path, text.decode("utf-16", errors="replace") + "\n")


def append_jsonl(path: Path, record: Mapping[str, Any], *, sync: bool = False) -> None:
    """Append one record as one write; `sync` waits for the disk, for records that cost money."""
    append_records(path, [record], sync=sync)


def append_records(path: Path, records: Iterable[Mapping[str, Any]], *, sync: bool = False) -> None:
    """Append records that belong together as one write; `sync` is as in `append_jsonl`."""
    lines = "".join(dumps(record) + "\n" for record in records)
    content = lines.encode("utf-8", errors="backslashreplace")
    with disk_full_is_an_error(path, needed=len(content)):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            size = _repair_tail(descriptor)
            try:
                _write_all(descriptor, content)
            except OSError:
                os.ftruncate(descriptor, size)
                raise
            if sync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """All records; a missing file is empty, a torn last line is left out, any other is an error."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    records: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        record = parse_line(line)
        if record is not None:
            records.append(record)
        elif number < len(lines):
            raise DataError(
                f"line {number} is not a JSON object",
                where=f"{path}:{number}",
                hint=f"sed -n {number}p {quoted(path)}",
            )
    return records


def parse_line(line: bytes) -> dict[str, Any] | None:
    """The record on one line, or None where the line is torn."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


@contextmanager
def staged_directory(final: Path) -> Iterator[Path]:
    """An empty folder that becomes `final` when the block ends well, and vanishes when it fails.

    An older `final` is replaced. What a killed process left behind is cleared by the next call.
    """
    with disk_full_is_an_error(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        clear_leftovers(final)
        temporary = final.parent / f".{final.name}.partial-{_mark()}"
        temporary.mkdir()
        try:
            yield temporary
            sync_tree(temporary)
            _swap(temporary, final)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def clear_leftovers(final: Path) -> None:
    """Remove staging folders of dead processes beside `final`; put back a half-replaced one."""
    for leftover in sorted(final.parent.glob(f".{_glob_safe(final.name)}.*-*")):
        kind, _, mark = leftover.name.removeprefix(f".{final.name}.").partition("-")
        if kind not in ("partial", "old") or _is_alive(mark):
            continue
        if kind == "old" and not final.exists():
            leftover.rename(final)
        elif leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Delete a file, a link itself, or a folder with all that is in it; links are not followed."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path)


def sync_tree(folder: Path) -> None:
    """Wait until every file and folder under `folder` is on the disk."""
    for root, _, files in os.walk(folder):
        for name in files:
            with (Path(root) / name).open("rb") as stream:
                os.fsync(stream.fileno())
        sync_folder(Path(root))


def make_readable(folder: Path) -> None:
    """Let the group read a model's folder; safetensors makes its files for the owner only."""
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def sync_folder(folder: Path) -> None:
    """Wait until the names in `folder` are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network and overlay file systems cannot sync a folder; the rename stands anyway.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _swap(temporary: Path, final: Path) -> None:
    """Rename `temporary` to `final`, through a name that `clear_leftovers` knows how to undo."""
    old = final.parent / f".{final.name}.old-{_mark()}"
    if final.exists():
        final.rename(old)
    temporary.rename(final)
    sync_folder(final.parent)
    remove(old)


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


def _repair_tail(descriptor: int) -> int:
    """Cut a torn last line, or end a whole one that lacks its newline; returns the new size."""
    size = os.fstat(descriptor).st_size
    if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n":
        return size
    start = _last_line_start(descriptor, size)
    if parse_line(os.pread(descriptor, size - start, start)) is not None:
        _write_all(descriptor, b"\n")
        return size + 1
    os.ftruncate(descriptor, start)
    return start


def _last_line_start(descriptor: int, size: int) -> int:
    block = 65536
    end = size
    while end > 0:
        start = max(0, end - block)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _mark() -> str:
    return f"{_host()}~{os.getpid()}~{secrets.token_hex(4)}"


def _host() -> str:
    return socket.gethostname().replace("~", "_").replace("/", "_") or "localhost"


def _is_alive(mark: str) -> bool:
    """Whether the process that left this mark may still be at work (another host: perhaps)."""
    host, _, rest = mark.partition("~")
    pid = rest.partition("~")[0]
    if host != _host() or not pid.isdigit():
        return True
    return Path(f"/proc/{pid}").exists()


def _glob_safe(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _existing_parent(path: Path) -> Path:
    return next(folder for folder in (path, *path.resolve().parents) if folder.is_dir())
