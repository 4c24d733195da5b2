"""Was this model trained with the chat template that is about to be used?

Each trained model folder holds its tokenizer, `chat_template.jinja` and `zephyrctl.json` with the
template's hash. Evaluation and chat check it, because a model judged or spoken to in another
format than it was trained in is the commonest cause of wrong scores.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from zephyrctl.data.tokenizers import template_hash
from zephyrctl.errors import DataError
from zephyrctl.runs.atomic import write_json

LOCK_FILE = "zephyrctl.json"


@dataclass(frozen=True)
class TemplateLock:
    """What a trained model folder says about its origin. `template` is the recipe's word for it.

    `tokenizer_sha256` is that of tokenizer.json; None in folders that were trained before it was
    kept, and for tokenizers without such a file.
    """

    template_sha256: str
    template: str
    stage: str
    base: str
    base_digest: str
    run: str
    tokenizer_sha256: str | None = None


def write(
    folder: Path,
    *,
    tokenizer: Any,
    template: str,
    stage: str,
    base: str,
    base_digest: str,
    run: str,
) -> TemplateLock:
    """Save tokenizer, template and lock into the folder of a model that has just been trained."""
    tokenizer.save_pretrained(folder)
    lock = TemplateLock(
        template_hash(tokenizer), template, stage, base, base_digest, run, _tokenizer_hash(folder)
    )
    write_json(folder / LOCK_FILE, asdict(lock))
    return lock


def read(folder: Path) -> TemplateLock | None:
    """The lock of a model folder; None for a folder this program did not train."""
    path = folder / LOCK_FILE
    if not path.is_file():
        return None
    try:
        return TemplateLock(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise DataError(
            f"the template lock cannot be read: {error}",
            where=str(path),
            hint="train the stage again, or copy the folder again from where it was trained",
        ) from error


def check(folder: Path, tokenizer: Any) -> TemplateLock | None:
    """Refuse a tokenizer whose template is not the one the model in `folder` was trained with.

    Returns the lock, or None for a folder without one.
    """
    lock = read(folder)
    if lock is None:
        return None
    found = template_hash(tokenizer)
    if found != lock.template_sha256:
        raise DataError(
            f"the model was trained with another chat template: '{lock.template}' "
            f"{lock.template_sha256[:12]}, not {found[:12]}",
            where=str(folder / LOCK_FILE),
            hint="use the folder's own chat_template.jinja (leave --template out)",
        )
    return lock


def changed_tokenizer(folder: Path, lock: TemplateLock | None) -> str | None:
    """What is to be said where the folder's tokenizer.json is not the one of training; else None.

    Another program may have saved the same tokenizer in other words, so this is never refused.
    """
    if lock is None or lock.tokenizer_sha256 is None:
        return None
    found = _tokenizer_hash(folder)
    if found == lock.tokenizer_sha256:
        return None
    is_now = "no longer there" if found is None else f"not that of training: {found[:12]}"
    return (
        f"tokenizer.json is {is_now}, was {lock.tokenizer_sha256[:12]}; text may become other "
        "tokens than the model was trained on"
    )


def _tokenizer_hash(folder: Path) -> str | None:
    """SHA-256 of tokenizer.json: what `sha256sum tokenizer.json` prints."""
    path = folder / "tokenizer.json"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
