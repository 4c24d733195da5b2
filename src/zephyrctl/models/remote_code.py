"""Does a model's folder bring code, and may that code be run?

Configurations name code in two ways: `auto_map` names classes in Python files of the repository
(or of another one), and an attention implementation with a slash names compiled kernels of a
repository. Nothing here runs or imports anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zephyrctl import environment
from zephyrctl.errors import DataError, UsageError
from zephyrctl.runs import trusted
from zephyrctl.runs.digests import digest_file

_CONFIGURATIONS = (
    "config.json", "tokenizer_config.json", "generation_config.json", "adapter_config.json",
    "processor_config.json", "preprocessor_config.json",
)  # fmt: skip
_KERNELS = "_implementation"
"""What the names of settings hold that choose kernels: attention, experts."""
_MOST_BYTES = 64 * 2**20


def may_run(path: str) -> bool:
    """What `trust_remote_code` is to be for a folder: true only where it holds code, all of which
    is that of a commit which the user trusts.

    UsageError for kernels of a repository, and for trusted code that lies in another repository,
    where nothing pins it.
    """
    folder = Path(path)
    if not folder.is_dir():
        return False
    _refuse_kernels(folder)
    named = classes(folder)
    if not named or _source(folder) is None:
        return False
    for place, name in named:
        if "--" in name:
            raise UsageError(
                f"the model takes code from another repository, which no commit pins: {name}",
                where=str(folder / place),
                hint=f"copy that code into the folder, and write {name.rpartition('--')[2]} there",
            )
    return True


def said_of(path: str) -> str | None:
    """What to say where code of a folder's own runs; None where none does."""
    if not may_run(path):
        return None
    return f"the model's own code runs, that of {_source(Path(path))}, as {trusted.FLAG} allows"


def classes(folder: Path) -> list[tuple[str, str]]:
    """The configuration file and the name of every class that `auto_map` names."""
    return [
        (place, name)
        for place, key, value in _settings(folder)
        if key == "auto_map" and isinstance(value, dict)
        for name in _texts(list(value.values()))
    ]


def needed(path: str) -> UsageError:
    """The error for a model or tokenizer that cannot be loaded without its own code."""
    folder = Path(path)
    snapshot = _snapshot(folder)
    says = f"{trusted.FLAG} {snapshot or 'OWNER/NAME@COMMIT'}"
    return UsageError(
        "the model can only be loaded with code of its own, which is not run",
        where=path,
        hint=f"read the code, then: zephyrctl {says} …"
        if snapshot
        else f"take a model that transformers knows, or a commit of the Hub: zephyrctl {says} …",
    )


def is_about_code(error: Exception) -> bool:
    """Whether transformers refused something because its code may not be run."""
    return "trust_remote_code" in str(error) or "custom code" in str(error)


def is_missing(model: str, commit: str, folder: Path) -> bool:
    """Whether trusted code was left out when a snapshot was fetched, before it was trusted."""
    wanted = trusted.Trusted(model, commit) in trusted.commits()
    return wanted and bool(classes(folder)) and not any(folder.glob("*.py"))


def _source(folder: Path) -> trusted.Trusted | None:
    """The trusted commit of which every Python file of the folder is, byte for byte: its own
    snapshot in the Hub's cache, or a model that was trained from it. None without one."""
    code = {path.relative_to(folder): digest_file(path) for path in sorted(folder.rglob("*.py"))}
    for item in trusted.commits():
        source = _cached(item)
        if source.is_dir() and all(
            (source / name).is_file() and digest_file(source / name) == digest
            for name, digest in code.items()
        ):
            return item if code else None
    return None


def _cached(item: trusted.Trusted) -> Path:
    name = f"models--{item.repository.replace('/', '--')}"
    return environment.hub_cache() / name / "snapshots" / item.commit


def _snapshot(folder: Path) -> trusted.Trusted | None:
    """The commit that a folder of the Hub's cache is, or None."""
    owner, _, name = folder.parent.parent.name.removeprefix("models--").partition("--")
    try:
        (item,) = trusted.parse([f"{owner}/{name}@{folder.name}"])
    except UsageError:
        return None
    return item if _cached(item).resolve() == folder.resolve() else None


def _refuse_kernels(folder: Path) -> None:
    for place, key, value in _settings(folder):
        if _KERNELS not in key:
            continue
        for name in _texts([value]):
            if "/" in name:
                raise UsageError(
                    f"the model asks for kernels of a repository, which are not fetched: {name}",
                    where=f"{folder / place}: {key}",
                    hint=f"remove {key} there; model.attention chooses the attention",
                )


def _settings(folder: Path) -> Iterator[tuple[str, str, Any]]:
    """File, name and value of every setting, nested ones too."""
    for place in _CONFIGURATIONS:
        path = folder / place
        try:
            if path.stat().st_size > _MOST_BYTES:
                raise DataError("a configuration of this size is none", where=str(path))
            waiting = [json.loads(path.read_bytes())]
        except (OSError, ValueError, RecursionError):
            continue  # whoever reads it says what is wrong with it
        while waiting:
            value = waiting.pop()
            if isinstance(value, dict):
                yield from ((place, str(key), item) for key, item in value.items())
                waiting.extend(value.values())
            elif isinstance(value, list):
                waiting.extend(value)


def _texts(values: list[Any]) -> Iterator[str]:
    """Every text in nested values; a tokenizer names two classes, or one and null."""
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, list | dict):
            yield from _texts(list(value.values()) if isinstance(value, dict) else value)
