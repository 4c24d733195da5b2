"""Which files make up a published model, and are they still what was written?

A folder that is published holds the files named here and no others: no optimizer, no logs, no
pickled weights. `export.json` says of each other one what its SHA-256 is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zephyrctl
from zephyrctl.errors import UsageError
from zephyrctl.runs.atomic import write_json
from zephyrctl.runs.digests import digest_file

CARD = "README.md"
MANIFEST = "export.json"
"""Not manifest.json: a folder with that and config.json is a run."""
_FORMAT = 1
_TEMPLATES = "additional_chat_templates"
_ALLOWED = re.compile(
    r"README\.md|LICENSE|export\.json|zephyrctl\.json"
    r"|config\.json|generation_config\.json"
    r"|model(-\d{5}-of-\d{5})?\.safetensors|model\.safetensors\.index\.json"
    r"|adapter_config\.json|adapter_model\.safetensors"
    r"|tokenizer\.json|tokenizer_config\.json|tokenizer\.model|special_tokens_map\.json"
    r"|added_tokens\.json|vocab\.json|vocab\.txt|merges\.txt|spiece\.model"
    r"|sentencepiece\.bpe\.model|[\w.-]+\.tiktoken"
    r"|chat_template\.jinja|additional_chat_templates/[\w.-]+\.jinja"
)
_WEIGHTS = re.compile(
    r"(model|adapter_model|consolidated)[\w.-]*\.safetensors(\.index\.json)?|[\w.-]+\.index\.json"
    r"|(pytorch_model|adapter_model)[\w.-]*\.bin|tf_model\.h5|flax_model\.msgpack"
    r"|adapter_config\.json"
)


@dataclass(frozen=True)
class File:
    """A file of a published model. `name` is its path within the folder."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Record:
    """What `export.json` holds. `made_from` is a digest of the weights and settings that decide
    the content; `facts` is what exporting found out."""

    made_from: str
    facts: Mapping[str, Any]
    sha256: Mapping[str, str]


def is_allowed(name: str) -> bool:
    """Whether a published folder may hold a file of this path within it."""
    return _ALLOWED.fullmatch(name) is not None


def is_weights(name: str) -> bool:
    """Whether readers take a file of this name for weights, or for the list of them: beside
    those of another model it would be read in their place."""
    return _WEIGHTS.fullmatch(name) is not None


def names(folder: Path) -> list[str]:
    """The files of a folder by their path within it, in order; UsageError where one is a link or
    not among those that make up a published model."""
    found = _inside(folder)
    strange = [name for name in found if (folder / name).is_symlink() or not is_allowed(name)]
    if strange:
        more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
        some = ", ".join(strange[:3]) + more
        raise UsageError(
            f"the folder holds what is no part of a published model: {some}",
            where=str(folder),
            hint="move it elsewhere; nothing but weights as safetensors, configuration, tokenizer, "
            "template, card and LICENSE is published",
        )
    return found


def listed(folder: Path) -> tuple[File, ...]:
    """The files that are published, with size and digest; UsageError as in `names`."""
    record = read_record(folder)
    known = record.sha256 if record is not None else {}
    return tuple(
        File(name, (folder / name).stat().st_size, known.get(name) or digest_file(folder / name))
        for name in names(folder)
    )


def holds_only_a_model(folder: Path) -> bool:
    """Whether nothing but a model of ours would be lost with the folder."""
    try:
        found = names(folder)
    except UsageError:
        return False
    if any(path.is_dir() and path.name != _TEMPLATES for path in folder.iterdir()):
        return False
    return "config.json" in found or "adapter_config.json" in found


def write_record(
    folder: Path,
    *,
    made_from: str,
    facts: Mapping[str, Any],
    weights: Mapping[str, str] | None = None,
) -> None:
    """Write `export.json` over all other files of the folder; `weights` are digests of large
    ones that need not be read again."""
    found = [name for name in _inside(folder) if name != MANIFEST]
    known = weights or {}
    write_json(
        folder / MANIFEST,
        {
            "format": _FORMAT,
            "zephyrctl": zephyrctl.__version__,
            "made_from": made_from,
            **facts,
            "sha256": {name: known.get(name) or digest_file(folder / name) for name in found},
        },
    )


def read_record(folder: Path) -> Record | None:
    """What the folder's `export.json` says; None where there is none that can be read."""
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if content.pop("format") != _FORMAT or not content.pop("zephyrctl"):
            return None
        return Record(content.pop("made_from"), content, dict(content.pop("sha256")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def changed(folder: Path, record: Record) -> list[str]:
    """Names of files that are gone, new, or not what `export.json` says."""
    there = {name: digest_file(folder / name) for name in _inside(folder) if name != MANIFEST}
    both = {**record.sha256, **there}
    return [name for name in both if there.get(name) != record.sha256.get(name)]


def _inside(folder: Path) -> list[str]:
    """What is in a folder and no folder itself, by its path within it."""
    found = [path for path in sorted(folder.rglob("*")) if path.is_symlink() or not path.is_dir()]
    lost = next((path for path in found if not path.is_file()), None)
    if lost is not None:
        raise UsageError("this is no file that can be published", where=str(lost), hint="remove it")
    return [path.relative_to(folder).as_posix() for path in found]
