"""Is this the same content as before? (SHA-256, in hex)"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any


def digest_bytes(content: bytes) -> str:
    """SHA-256 of `content`, 64 hex characters."""
    return hashlib.sha256(content).hexdigest()


def digest_text(text: str) -> str:
    """SHA-256 of `text` in UTF-8."""
    return digest_bytes(text.encode("utf-8", errors="surrogatepass"))


def digest_json(value: Any) -> str:
    """SHA-256 of a JSON value; the order of keys does not count."""
    return digest_text(json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")))


def digest_file(path: Path) -> str:
    """SHA-256 of a file's content, read in blocks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_tree(folder: Path, *, ignore: Sequence[str] = ()) -> str:
    """SHA-256 over the relative paths and contents of all files under `folder`.

    `ignore` holds shell patterns for a file's name or its relative path. Times, owners and empty
    folders do not count.
    """
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder).as_posix()
        if not path.is_file():
            continue
        if any(fnmatch(path.name, pattern) or fnmatch(relative, pattern) for pattern in ignore):
            continue
        total.update(f"{len(relative)}:{relative}:{digest_file(path)}\n".encode())
    return total.hexdigest()


def digest_path(path: Path) -> str:
    """SHA-256 of a file, or of everything under a folder."""
    return digest_tree(path) if path.is_dir() else digest_file(path)
