"""From which checkpoint does training go on, and which may be deleted?

Every rank writes into `checkpoint-N.partial`; the run's lock keeps that name for one training.
Then everything is synced, the manifest comes last, the folder is renamed to `checkpoint-N` and read
back, and only then older ones are deleted. transformers 5.23 has none of this: it takes the highest
number, trains on from a flipped bit, and starts with a fresh optimizer where its file is missing.

What is read back comes from the page cache: it finds what the program or the file system did wrong.
What the disk does later is found by the next scan.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zephyrctl import __version__, environment
from zephyrctl.errors import EnvironmentProblem, NoCheckpoint
from zephyrctl.runs import atomic
from zephyrctl.runs.digests import digest_json
from zephyrctl.runs.store import StageDir
from zephyrctl.training import checkpoint_record
from zephyrctl.training.checkpoint_record import FORMAT, Damaged, Record, Value

PREFIX = "checkpoint-"
PARTIAL, REMOVED, DAMAGED = ".partial", ".removed", ".damaged"
_VERSIONS = ("python", "torch", "transformers", "trl", "peft", "zephyrctl")
_LEFTOVERS = {PARTIAL: "it was never finished", REMOVED: "its deletion was never finished"}


@dataclass(frozen=True)
class Work:
    """The training that checkpoints belong to."""

    inputs: Mapping[str, Value]
    """What decides the result, as in the stage's manifest."""
    world_size: int
    strategy: str
    sharded: bool
    """Whether each rank saves its part of weights and optimizer."""
    adjustments: Mapping[str, Any] = field(default_factory=dict)
    """What was changed for lack of memory."""


@dataclass(frozen=True)
class Facts:
    """What a checkpoint is of, known before its files are."""

    work: Work
    step: int
    total: int
    epoch: int
    taken: int
    """Examples of the epoch under way that were taken."""
    held_out_loss: float | None = None


@dataclass(frozen=True)
class Resume:
    """A verified checkpoint to go on from."""

    path: Path
    record: Record

    @property
    def step(self) -> int:
        return self.record.step

    @property
    def world_size(self) -> int:
        return self.record.world_size


@dataclass(frozen=True)
class Scan:
    """What the checkpoint folder holds."""

    resume: Resume | None
    said: list[str]
    """One sentence for each folder that was passed over or removed."""


def folder_of(checkpoints: Path, step: int) -> Path:
    """Where the checkpoint of a step is once it is committed."""
    return checkpoints / f"{PREFIX}{step}"


def partial_of(checkpoints: Path, step: int) -> Path:
    """Where every rank writes the checkpoint of a step."""
    return checkpoints / f"{PREFIX}{step}{PARTIAL}"


def begin(checkpoints: Path, step: int) -> Path:
    """An empty folder to write into; rank 0 only, before the other ranks write."""
    partial = partial_of(checkpoints, step)
    atomic.remove(partial)
    with atomic.disk_full_is_an_error(partial):
        partial.mkdir(parents=True)
    return partial


def commit(partial: Path, facts: Facts) -> Path:
    """Make what the ranks wrote a checkpoint, and read it back; rank 0 only.

    The files are hashed while the disk is still writing them. EnvironmentProblem where what is read
    back is not what was written: the folder is put aside, older ones stand.
    """
    failed: list[OSError] = []
    syncing = threading.Thread(target=_sync, args=(partial, failed))
    syncing.start()
    try:
        files = checkpoint_record.entries(partial)
    except Damaged as reason:
        raise _unreadable(partial, reason) from None
    finally:
        syncing.join()
    if failed:
        raise failed[0]
    checkpoint_record.write(partial, record(facts, files))
    final = folder_of(partial.parent, facts.step)
    older = _set_aside(final) if os.path.lexists(final) else None
    partial.rename(final)
    atomic.sync_folder(final.parent)
    if older is not None:
        with suppress(OSError):  # the next scan tries again
            atomic.remove(older)
    try:
        checkpoint_record.verified(final, fresh=True)
    except Damaged as reason:
        _put_aside(final)
        raise _unreadable(final, reason) from None
    return final


def scan(
    stage_dir: StageDir,
    *,
    inputs: Mapping[str, Value],
    allowed: Collection[str] = (),
    digests: bool = True,
) -> Scan:
    """The newest checkpoint that verifies and is of these inputs, but for the `allowed` ones.

    Those passed over are put aside once a good one is found. NoCheckpoint where there are some and
    none is good: nothing is deleted then, because going on from the beginning would throw work away
    without a word.
    """
    passed_over: list[tuple[Path, str]] = []
    for folder in by_age(stage_dir.checkpoints):
        try:
            record = checkpoint_record.verified(folder, digests=digests)
            _check_inputs(record, inputs, allowed)
        except Damaged as reason:
            passed_over.append((folder, str(reason)))
            continue
        said = [
            f"passed over {each.name}: {why}; going on from {folder.name}"
            for each, why in passed_over
        ]
        for each, _ in passed_over:
            _put_aside(each)
        return Scan(Resume(folder, record), [*said, *_clear_leftovers(stage_dir.checkpoints)])
    if passed_over:
        reasons = "; ".join(f"{folder.name}: {why}" for folder, why in passed_over)
        raise NoCheckpoint(
            f"no checkpoint of this stage is intact ({reasons})",
            where=str(stage_dir.checkpoints),
            hint=f"put one back from a copy, or start {stage_dir.name} afresh with --force",
        )
    return Scan(None, _clear_leftovers(stage_dir.checkpoints))


def rotate(checkpoints: Path, *, keep: int, newest: Path, keep_best: bool = False) -> list[str]:
    """Delete older checkpoints beyond `keep`, after `newest` was verified, and what was put aside.

    With `keep_best` the one of the lowest held-out loss stays too. What cannot be deleted is told
    and no reason to end a training: it returns those, in words.
    """
    folders = [folder for folder in by_age(checkpoints) if folder != newest]
    best = _best([newest, *folders]) if keep_best else None
    old = [folder for folder in folders[keep - 1 :] if folder != best]
    said = [_tried(_discard, folder) for folder in (*old, *checkpoints.glob(f"{PREFIX}*{DAMAGED}"))]
    return [text for text in said if text is not None]


def clear_finished(stage_dir: StageDir) -> list[str]:
    """Delete the checkpoints of a stage that is finished; returns in words what cannot be deleted,
    which takes nothing from the result."""
    said = _tried(clear, stage_dir.checkpoints)
    return [] if said is None else [said]


def clear(checkpoints: Path) -> None:
    """Delete every checkpoint, whole or not; where the folder is a link to another disk, it stays a
    link. Another process may be doing the same."""
    for path in checkpoints.glob(f"{PREFIX}*"):
        with suppress(FileNotFoundError):
            _discard(path)
    if checkpoints.is_dir() and not checkpoints.is_symlink():
        shutil.rmtree(checkpoints, ignore_errors=True)


def newest(checkpoints: Path) -> Path | None:
    """The newest checkpoint that was committed, unverified; for messages."""
    stands = (f for f in by_age(checkpoints) if (f / checkpoint_record.MANIFEST).is_file())
    return next(stands, None)


def record_of_newest(stage_dir: StageDir) -> Record | None:
    """The manifest of the newest checkpoint that has an intact one, for a look before the scan."""
    for folder in by_age(stage_dir.checkpoints):
        try:
            return checkpoint_record.read(folder)
        except Damaged:
            continue
    return None


def by_age(checkpoints: Path) -> list[Path]:
    """What has the name of a committed checkpoint, the highest step first; links are among them."""
    found = [
        (int(path.name.removeprefix(PREFIX)), path)
        for path in checkpoints.glob(f"{PREFIX}*")
        if path.name.removeprefix(PREFIX).isdecimal() and (path.is_dir() or path.is_symlink())
    ]
    return [path for _, path in sorted(found, reverse=True)]


def rewind(stage_dir: StageDir, *, step: int) -> None:
    """Drop metric records and samples of steps after `step`, which will be written again."""
    for path in (stage_dir.metrics_path, stage_dir.samples_path):
        records = atomic.read_jsonl(path)
        kept = [record for record in records if _step(record) <= step]
        if len(kept) < len(records):
            atomic.write_text(path, "".join(atomic.dumps(record) + "\n" for record in kept))


def record(facts: Facts, files: Mapping[str, checkpoint_record.FileEntry]) -> Record:
    """The manifest of a checkpoint that holds these files."""
    work = facts.work
    data = work.inputs.get("data")
    versions = environment.package_versions() | {"zephyrctl": __version__}
    return Record(
        format=FORMAT,
        step=facts.step,
        total=facts.total,
        epoch=facts.epoch,
        taken=facts.taken,
        world_size=work.world_size,
        strategy=work.strategy,
        sharded=work.sharded,
        inputs=dict(work.inputs),
        inputs_digest=digest_json(dict(work.inputs)),
        data=str(data) if data is not None else None,
        adjustments=dict(work.adjustments),
        held_out_loss=facts.held_out_loss,
        versions={name: versions[name] for name in _VERSIONS if name in versions},
        files=dict(files),
    )


def _unreadable(folder: Path, reason: Damaged) -> EnvironmentProblem:
    return EnvironmentProblem(
        f"{folder.name} does not read back as it was written: {reason}",
        where=str(folder),
        hint="look at the disk and its file system; the checkpoints before it stand",
    )


def _sync(folder: Path, failed: list[OSError]) -> None:
    try:
        atomic.sync_tree(folder)
    except OSError as error:
        failed.append(error)


def _check_inputs(record: Record, inputs: Mapping[str, Value], allowed: Collection[str]) -> None:
    """Damaged where the checkpoint belongs to another training."""
    keys = {*record.inputs, *inputs}
    other = sorted(key for key in keys if record.inputs.get(key) != inputs.get(key))
    foreign = [key for key in other if key not in allowed]
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise Damaged(f"it belongs to other inputs ({foreign[0]}{more})")


def _best(folders: list[Path]) -> Path | None:
    losses: list[tuple[float, Path]] = []
    for folder in folders:
        try:
            record = checkpoint_record.read(folder)
        except Damaged:
            continue
        if record.held_out_loss is not None:
            losses.append((record.held_out_loss, folder))
    return min(losses, key=lambda entry: entry[0])[1] if losses else None


def _clear_leftovers(checkpoints: Path) -> list[str]:
    """Delete what a killed process left half written or half deleted; returns it in words."""
    said: list[str] = []
    for suffix, why in _LEFTOVERS.items():
        for folder in sorted(checkpoints.glob(f"{PREFIX}*{suffix}")):
            said.append(_tried(atomic.remove, folder) or f"removed {folder.name}: {why}")
    return said


def _tried(delete: Callable[[Path], None], folder: Path) -> str | None:
    """Why a folder could not be deleted, in words: one that is open on a network disk cannot."""
    try:
        delete(folder)
    except OSError as error:
        return f"{folder.name} could not be removed ({error.strerror or error})"
    return None


def _discard(folder: Path) -> None:
    """Delete a checkpoint; under its new name it no longer counts, however the deletion ends."""
    atomic.remove(_set_aside(folder))


def _set_aside(folder: Path) -> Path:
    gone = folder.with_name(folder.name + REMOVED)
    atomic.remove(gone)
    folder.rename(gone)
    return gone


def _put_aside(folder: Path) -> None:
    """Keep a checkpoint that cannot be used out of the way, until the next one is verified."""
    aside = folder.with_name(folder.name + DAMAGED)
    atomic.remove(aside)
    folder.rename(aside)


def _step(record: dict[str, Any]) -> int:
    """The optimizer step of a record; records without one (progress, notices) are always kept."""
    return int(record.get("step", -1))
