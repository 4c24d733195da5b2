"""Which values name a local file, and what that file is relative to.

A value is local when it starts with `./`, `../`, `/` or `~`, or has a suffix its field is known
by. A local value in a file is relative to that file (so a packaged recipe can name a file of the
wheel); one from the environment or the command line is relative to the working directory.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zephyrctl.config.schema import Recipe

_PREFIXES = ("./", "../", "/", "~")
_KINDS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow")
_COMPRESSED = ("", ".gz", ".zst", ".bz2", ".xz", ".zip")
DATA_SUFFIXES = tuple(kind + pack for kind in _KINDS for pack in _COMPRESSED)

# Field -> suffixes that make a value local without a prefix; "" makes every value local.
_PATH_FIELDS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("model", "base"): (),
    ("model", "chat_template"): (".jinja",),
    ("data", "sft", "train", "*", "path"): DATA_SUFFIXES,
    ("data", "sft", "test", "*", "path"): DATA_SUFFIXES,
    ("data", "dpo", "train", "*", "path"): DATA_SUFFIXES,
    ("data", "dpo", "test", "*", "path"): DATA_SUFFIXES,
    ("data", "dpo", "binarize", "truthful_qa"): ("",),
    ("data", "decontaminate", "against", "*"): DATA_SUFFIXES,
    ("dpo", "init_from"): (),
    ("eval", "models", "*"): (),
    ("eval", "baseline"): (),
    ("eval", "data_dir"): ("",),
    ("eval", "rules", "questions"): ("",),
    ("eval", "own", "questions"): ("",),
    ("eval", "own", "rubric"): ("",),
    ("eval", "judge", "api_key_file"): ("",),
    ("eval", "judge", "spec"): DATA_SUFFIXES,
}


def is_local(value: str, *, suffixes: tuple[str, ...] = DATA_SUFFIXES) -> bool:
    """Whether a value names a local file or folder rather than a Hub id or a packaged name."""
    return value in (".", "..") or value.startswith(_PREFIXES) or value.lower().endswith(suffixes)


def expand_home(value: str | Path) -> Path:
    """The path with `~` and `~user` filled in, where there is such a user."""
    try:
        return Path(value).expanduser()
    except RuntimeError:  # no such user: the name is an ordinary one
        return Path(value)


def anchor(values: dict[str, Any], *, folder: Path) -> dict[str, Any]:
    """A copy of one layer with its local paths made absolute, relative ones from `folder`."""
    return _anchor(values, folder, ())


def _anchor(value: Any, folder: Path, path: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        return {key: _anchor(item, folder, (*path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_anchor(item, folder, (*path, "*")) for item in value]
    suffixes = _PATH_FIELDS.get(path)
    if suffixes is None or not isinstance(value, str) or not value:
        return value
    scheme = ""
    if path[-1] == "spec":  # `local:./folder` and `replay:judgments.jsonl` name files too
        head, colon, tail = value.partition(":")
        if head not in ("local", "replay") or not tail:
            return value
        scheme, value = head + colon, tail
    if not is_local(value, suffixes=suffixes):
        return scheme + value
    return scheme + os.path.normpath(folder / expand_home(value))


def local_sources(recipe: Recipe) -> list[Path]:
    """The files and folders that data preparation reads, with all links followed."""
    parts = (recipe.data.sft, recipe.data.dpo)
    named = [source.path for part in parts for source in (*part.train, *part.test)]
    return list(dict.fromkeys(expand_home(path).resolve() for path in named if is_local(path)))
