"""Does a file that is about to be published hold a secret?"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from zephyrctl.errors import UsageError

_NAMES = re.compile(r"(TOKEN|KEY|SECRET|PASSWORD|PASSWD|CREDENTIALS?)S?$")
_SHORTEST = 12
_KINDS = re.compile(
    rb"hf_[A-Za-z0-9]{30,}|\bsk-[A-Za-z0-9_-]{20,}|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}"
    rb"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
_VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "merges.txt")
_HEADER = 2**20


def refuse_secrets(
    folder: Path, names: Iterable[str], *, token: str, env: Mapping[str, str] | None = None
) -> None:
    """UsageError where a file holds `token`, the value of a variable that is named like a secret,
    or what looks like a key. The secret itself is not said.

    Of weights only the header is read, in which text can stand. A vocabulary is not searched for
    what looks like a key: it may hold pieces of one.
    """
    values = _values(os.environ if env is None else env)
    if token:
        values["the Hub token"] = token.encode()
    for name in names:
        content = _text(folder / name)
        found = next((what for what, value in values.items() if value in content), None)
        if found is None and name not in _VOCABULARIES and _KINDS.search(content):
            found = "what looks like a key or token"
        if found is not None:
            raise UsageError(
                f"the file holds a secret ({found}), and would be published with it",
                where=str(folder / name),
                hint="remove it there and make a new one: it was written to a disk",
            )


def _values(env: Mapping[str, str]) -> dict[str, bytes]:
    """Values of variables that are named like secrets, by what they are called."""
    return {
        f"the value of {name}": value.encode(errors="surrogateescape")
        for name, value in env.items()
        if _NAMES.search(name.upper()) and len(value) >= _SHORTEST and "/" not in value
    }


def _text(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(_HEADER) if path.suffix == ".safetensors" else stream.read()
