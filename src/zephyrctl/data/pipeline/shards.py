"""Where are the results for a chunk of rows kept, and is a kept one whole?

A shard is an Arrow table in a file named by the digest of what it follows from, in the cache that
all runs share. The file begins with a checksum of the rest, so that half a file (a kill, a power
cut) is a miss and nothing else; a shard is written beside its place and renamed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zephyrctl.runs.atomic import disk_full_is_an_error

_CHECKSUM = 16
_SUFFIX = ".shard"


class Shards:
    """The shards in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, name: str) -> Any | None:
        """The table kept under `name`, or None where there is none that is whole."""
        import pyarrow as pa

        path = self._path(name)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        body = memoryview(content)[_CHECKSUM:]
        if hashlib.blake2b(body, digest_size=_CHECKSUM).digest() != content[:_CHECKSUM]:
            path.unlink(missing_ok=True)
            return None
        os.utime(path)  # `prune` removes what was not used for longest
        with pa.ipc.open_file(pa.py_buffer(body)) as reader:
            return reader.read_all()

    def holds(self, name: str) -> bool:
        """Whether there is a file for `name`, whole or not."""
        return self._path(name).exists()

    def write(self, name: str, table: Any) -> None:
        """Keep a table under `name`."""
        import pyarrow as pa

        sink = pa.BufferOutputStream()
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with pa.ipc.new_file(sink, table.schema, options=options) as writer:
            writer.write_table(table)
        body = sink.getvalue()
        path = self._path(name)
        with disk_full_is_an_error(path, needed=_CHECKSUM + len(body)):
            path.parent.mkdir(parents=True, exist_ok=True)
            # Not synced to the disk: the checksum tells what a power cut has left of it.
            temporary = path.with_suffix(f".partial-{os.getpid()}")
            try:
                with temporary.open("wb") as stream:
                    stream.write(hashlib.blake2b(body, digest_size=_CHECKSUM).digest())
                    stream.write(body)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)

    def mark(self, name: str) -> None:
        """Note something under `name` for good; pruning leaves it."""
        (self._folder / "marks").mkdir(parents=True, exist_ok=True)
        (self._folder / "marks" / name).touch()

    def is_marked(self, name: str) -> bool:
        """Whether something was noted under `name`."""
        return (self._folder / "marks" / name).exists()

    def _path(self, name: str) -> Path:
        return self._folder / name[:2] / (name + _SUFFIX)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep other processes from pruning while this one reads back what it has written."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("a", encoding="ascii") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH)
            yield

    def prune(self, *, to_bytes: int) -> int:
        """Remove the least recently used shards beyond `to_bytes`; the number of removed ones.

        Does nothing while another process is preparing data.
        """
        with (self._folder / "lock").open("a", encoding="ascii") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return 0
            return self._prune(to_bytes)

    def _prune(self, to_bytes: int) -> int:
        for abandoned in self._folder.glob("*/*.partial-*"):
            abandoned.unlink(missing_ok=True)
        kept = [(path.stat(), path) for path in self._folder.glob(f"*/*{_SUFFIX}")]
        kept.sort(key=lambda item: (-item[0].st_mtime_ns, item[1].name))
        total = removed = 0
        for stat, path in kept:
            total += stat.st_size
            if total > to_bytes:
                path.unlink(missing_ok=True)
                removed += 1
        return removed
