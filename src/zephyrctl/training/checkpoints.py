"""Which checkpoint is whole, from which does training go on, and which may be deleted?

The trainer writes `checkpoint-N`; when every rank is done, rank 0 writes `seal.json` into it, with
the size and SHA-256 of each file, last and in one step. A folder without a valid seal does not
count. transformers 5.23 has no such mark: it takes the highest number, trains on from a flipped bit
and starts with a fresh optimizer where its file is missing (shared/reference/reliability.md §2.2).
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from zephyrctl.errors import NoCheckpoint
from zephyrctl.runs import atomic
from zephyrctl.runs.digests import digest_file
from zephyrctl.runs.store import StageDir

SEAL = "seal.json"
PREFIX = "checkpoint-"
UNFINISHED = "it was never finished"
FOREIGN = "it belongs to other settings or data"


class Seal(BaseModel):
    """What was true when the checkpoint was finished."""

    step: int
    total: int
    world_size: int
    inputs_digest: str
    """Digest of everything that decides the stage's result; another one is another training."""
    files: dict[str, tuple[int, str]]
    """Size and SHA-256 by relative path."""


@dataclass(frozen=True)
class Resume:
    """A verified checkpoint to go on from."""

    path: Path
    step: int
    world_size: int


@dataclass(frozen=True)
class Scan:
    """What the checkpoint folder holds."""

    resume: Resume | None
    said: list[str]
    """One sentence per folder that was removed."""


def folder_of(checkpoints: Path, step: int) -> Path:
    """Where the trainer writes the checkpoint of a step."""
    return checkpoints / f"{PREFIX}{step}"


def seal(folder: Path, *, step: int, total: int, world_size: int, inputs_digest: str) -> None:
    """Wait until the files are on the disk, then mark the checkpoint as whole."""
    atomic.sync_tree(folder)
    files = {
        path.relative_to(folder).as_posix(): (path.stat().st_size, digest_file(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != SEAL
    }
    record = Seal(
        step=step, total=total, world_size=world_size, inputs_digest=inputs_digest, files=files
    )
    atomic.write_json(folder / SEAL, record.model_dump())


def flaw(folder: Path, *, inputs_digest: str) -> str | None:
    """Why this checkpoint cannot be resumed from, or None where it can."""
    record = _read_seal(folder)
    if record is None:
        return UNFINISHED
    if record.inputs_digest != inputs_digest:
        return FOREIGN
    for name, (size, digest) in record.files.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes instead of {size}"
        if digest_file(path) != digest:
            return f"the content of {name} has changed"
    return None


def scan(stage_dir: StageDir, *, inputs_digest: str) -> Scan:
    """The newest checkpoint that verifies; unfinished and foreign folders are removed.

    NoCheckpoint where sealed checkpoints of this training exist and none of them is intact: going
    on from the beginning would throw work away without a word.
    """
    said: list[str] = []
    damaged: list[tuple[Path, str]] = []
    for folder in _by_age(stage_dir.checkpoints):
        reason = flaw(folder, inputs_digest=inputs_digest)
        if reason is None:
            record = _read_seal(folder)
            assert record is not None, "a checkpoint without flaw has a seal"
            resume = Resume(folder, record.step, record.world_size)
            for broken, why in damaged:
                shutil.rmtree(broken)
                said.append(f"removed {broken.name}: {why}; going on from {folder.name}")
            return Scan(resume, said)
        if reason in (UNFINISHED, FOREIGN):
            shutil.rmtree(folder)
            said.append(f"removed {folder.name}: {reason}")
        else:
            damaged.append((folder, reason))
    if damaged:
        reasons = "; ".join(f"{broken.name}: {why}" for broken, why in damaged)
        raise NoCheckpoint(
            f"no checkpoint of this stage is intact ({reasons})",
            where=str(stage_dir.checkpoints),
            hint=f"rm -r {stage_dir.checkpoints}   starts the stage afresh",
        )
    return Scan(None, said)


def rotate(checkpoints: Path, *, keep: int, newest: Path) -> None:
    """Delete older sealed checkpoints beyond `keep`, after `newest` was verified."""
    older = [folder for folder in _by_age(checkpoints) if folder != newest]
    for folder in older[keep - 1 :]:
        # Without its seal the folder no longer counts, however the deletion ends.
        (folder / SEAL).unlink(missing_ok=True)
        shutil.rmtree(folder)


def last_sealed(checkpoints: Path) -> Path | None:
    """The newest sealed checkpoint, unverified; for messages."""
    return next((f for f in _by_age(checkpoints) if (f / SEAL).is_file()), None)


def rewind(stage_dir: StageDir, *, step: int) -> None:
    """Drop metric records and samples of steps after `step`, which will be written again."""
    for path in (stage_dir.metrics_path, stage_dir.samples_path):
        records = atomic.read_jsonl(path)
        kept = [record for record in records if _step(record) <= step]
        if len(kept) < len(records):
            atomic.write_text(path, "".join(atomic.dumps(record) + "\n" for record in kept))


def _step(record: dict[str, Any]) -> int:
    """The optimizer step of a record; records without one (progress, notices) are always kept."""
    return int(record.get("step", -1))


def _read_seal(folder: Path) -> Seal | None:
    try:
        return Seal.model_validate_json((folder / SEAL).read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None


def _by_age(checkpoints: Path) -> list[Path]:
    """Checkpoint folders, the highest step first."""
    found = [
        (int(path.name.removeprefix(PREFIX)), path)
        for path in checkpoints.glob(f"{PREFIX}*")
        if path.is_dir() and path.name.removeprefix(PREFIX).isdigit()
    ]
    return [path for _, path in sorted(found, reverse=True)]
