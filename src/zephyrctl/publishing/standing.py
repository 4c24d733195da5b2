"""Does an exported folder stand already, so that nothing has to be merged again?

What decides the weights of an export is digested into `export.json`. A folder of the same digest,
whose files are what was written, is the export; only its card follows what the run learnt since
(scores of a later evaluation). A card that was edited by hand is left as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zephyrctl.errors import UsageError
from zephyrctl.generation.adapters import Chain
from zephyrctl.publishing import files
from zephyrctl.publishing.files import CARD
from zephyrctl.runs.atomic import write_text
from zephyrctl.runs.digests import digest_file, digest_json, digest_text, digest_tree
from zephyrctl.runs.references import ModelRef
from zephyrctl.runs.store import StageDir

_FORMAT = 1
"""Raised by one when the same model would be written otherwise."""
_BY_HAND = (CARD, "LICENSE")
_NOT_WEIGHTS = ("*.md", ".*", "*.log")


def made_from(ref: ModelRef, chain: Chain, **settings: str) -> str:
    """Digest of what decides an export: the weights that it stands on, and how it is written.

    A finished stage's manifest has the digest of its model, which holds that of its base.
    """
    weights: list[str] = []
    if ref.run is not None and ref.stage in ("sft", "dpo"):
        manifest = StageDir(ref.run.root / ref.stage).read_manifest()
        weights = [manifest.outputs["model"]] if manifest and "model" in manifest.outputs else []
    parts = [*map(str, chain.adapters), chain.base]
    weights = weights or [
        digest_tree(Path(part), ignore=_NOT_WEIGHTS) if Path(part).is_dir() else part
        for part in parts
    ]
    return digest_json([_FORMAT, weights, len(chain.adapters), settings])


def close(folder: Path, card: str, *, made_from: str, facts: Mapping[str, Any]) -> None:
    """Write the card and `export.json`, the last two files of an export."""
    write_text(folder / CARD, card)
    files.write_record(folder, made_from=made_from, facts={**facts, "card": digest_text(card)})


def found(folder: Path, *, made_from: str) -> Mapping[str, Any] | None:
    """What exporting found out where the folder is this very export; None where it is another,
    an older one, or nothing of ours. UsageError where its files were changed since."""
    record = files.read_record(folder)
    if record is None or record.made_from != made_from:
        return None
    other = [name for name in files.changed(folder, record) if name not in _BY_HAND]
    if other:
        raise UsageError(
            f"the folder was changed since it was exported: {', '.join(other[:3])}",
            where=str(folder),
            hint="--force exports the model anew",
        )
    return record.facts


def taken(folder: Path, ref: ModelRef, chain: Chain) -> UsageError:
    """Why an export of `ref` may not be written over the one that stands, which is no such one."""
    record = files.read_record(folder)
    facts = record.facts if record is not None else {}
    form, keep = facts.get("file") or facts.get("dtype"), "--out ANOTHER_FOLDER keeps both"
    dtype = str(facts.get("dtype"))
    if record is not None and record.made_from == made_from(ref, chain, dtype=dtype):
        return UsageError(
            f"this model stands there already, in {dtype}",
            where=str(folder),
            hint=f"--dtype {dtype} where that one is meant; --force writes it anew; {keep}",
        )
    return UsageError(
        f"an export of something else stands there already ({form or 'of an unknown form'})",
        where=str(folder),
        hint=f"--force replaces it; {keep}",
    )


def refresh(folder: Path, card: str) -> bool:
    """Put the card as it would be written now into an export that stands, and return whether it is
    that: a card that was edited by hand stays."""
    record = files.read_record(folder)
    if record is None:
        raise UsageError("the folder is no export", where=str(folder), hint="--force")
    path = folder / CARD
    now = digest_file(path) if path.is_file() else None
    ours = now in (None, record.facts.get("card"), digest_text(card))
    facts = {**record.facts, "card": digest_text(card)} if ours else record.facts
    if ours:
        write_text(path, card)
    weights = {name: sha256 for name, sha256 in record.sha256.items() if files.is_weights(name)}
    files.write_record(folder, made_from=record.made_from, facts=facts, weights=weights)
    return ours
