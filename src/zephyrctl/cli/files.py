"""Which files a command may write: new ones, or with --force any."""

from __future__ import annotations

from pathlib import Path

from zephyrctl.errors import UsageError


def refuse_existing(path: Path, *, force: bool, hint: str = "add --force to overwrite it") -> None:
    """UsageError where a file stands at `path` and `force` is not given."""
    if path.is_dir():
        raise UsageError("this is a folder, not a file", where=str(path))
    if path.exists() and not force:
        raise UsageError(f"{path.name} exists already", where=str(path), hint=hint)


def write_text(path: Path, text: str) -> None:
    """Write a whole file in one step; UsageError where the folder cannot be written."""
    from zephyrctl.runs import atomic

    try:
        atomic.write_text(path, text)
    except OSError as error:
        raise UsageError(f"cannot write the file: {error.strerror}", where=str(path)) from None
