"""How does a process on a full disk still say why it ended?

It keeps a few blocks of the disk from its start, and writes its error into them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from zephyrctl.runs.atomic import dumps

ROOM = 16384
"""Bytes; an error is some hundred."""


def keep_room(path: Path) -> None:
    """Keep room for the error that will be left at `path`; without it, one is left if it can."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        _reserve(path).write_bytes(b" " * ROOM)


def leave(path: Path, record: Mapping[str, Any]) -> None:
    """Leave the record as JSON at `path`, in the room that was kept, whole or not at all."""
    kept = _reserve(path)
    content = dumps(dict(record)).encode("utf-8", errors="backslashreplace")
    with suppress(OSError):
        descriptor = os.open(kept, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            # Blocks that are overwritten are there already; white space behind JSON is JSON.
            os.pwrite(descriptor, content.ljust(ROOM), 0)
            os.ftruncate(descriptor, len(content))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        kept.replace(path)


def drop_room(path: Path) -> None:
    """Give the room back after a good end."""
    with suppress(OSError):
        _reserve(path).unlink(missing_ok=True)


def _reserve(path: Path) -> Path:
    return path.with_name(f".{path.name}.room")
