"""Can this training be carried out here, as far as that shows within seconds?

Before anything is loaded, `stages.forecast` has compared the plan of memory and disk with what is
free. Here it is tried: one forward and backward pass, and a checkpoint that is written and read
back from the disk.
"""

import os
import shutil
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from transformers import TrainerCallback

from zephyrctl.errors import DiskFull, EnvironmentProblem, quoted
from zephyrctl.runs import atomic, heartbeat
from zephyrctl.runs.store import StageDir
from zephyrctl.sizes import GIB, size_words
from zephyrctl.training import checkpoints, saving, sharding
from zephyrctl.training.checkpoint_record import WEIGHTS
from zephyrctl.training.loading import Policy

WHOLE = GIB
"""Bytes up to which a checkpoint is tried whole. A full 7B one of 87 GB would cost minutes."""
PART = 2**28
"""Bytes of trained weights that are tried of a larger one."""
_TENSORS_PER_TRAINED_WEIGHT = 3
"""In a checkpoint: the weight and AdamW's two moments, in the weight's number format."""
_FILES = 1000
"""Names that checkpoints, logs, samples and the model need, with room to spare."""


class Preflight(TrainerCallback):
    """Tries a pass and a checkpoint when everything is in place, before the first step."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Every rank; each failure is an error that says what to do."""
        with heartbeat.resting("preflight"):
            self._trainer.rehearse_first_step()
            try_checkpoint(self._trainer)


def check_disk(folder: StageDir, policy: Policy, *, keep: int) -> None:
    """DiskFull before the work where checkpoints and model cannot fit: `keep` of them, the one that
    is being written, and the model. What stands of them has its room already."""
    trained = sum(w.nbytes for w in policy.model.parameters() if w.requires_grad)
    folder.path.mkdir(parents=True, exist_ok=True)
    stands = folder.checkpoint_bytes()
    needed = max(0, trained * _TENSORS_PER_TRAINED_WEIGHT * (keep + 1) - stands) + trained
    free = shutil.disk_usage(folder.path).free
    if free < needed:
        more = " more" if stands else ""
        raise DiskFull(
            f"{keep + 1} checkpoints and the model need {size_words(needed)}{more} "
            f"({needed:,} bytes), {size_words(free)} are free",
            where=str(folder.path),
            hint=f"--set {folder.name}.keep_checkpoints=1, or --set output_root=FOLDER",
        )
    room = os.statvfs(folder.path)
    if room.f_files > 0 and room.f_favail < _FILES:
        raise DiskFull(
            f"the file system can take {room.f_favail} more files, {_FILES} may be needed",
            where=str(folder.path),
            hint=f"df -i {quoted(folder.path)}",
        )


def try_checkpoint(trainer: Any) -> None:
    """Write a checkpoint as training will, read it back from the disk, and delete it.

    Every rank must call it. DiskFull where it does not fit (a quota is not seen before), and
    EnvironmentProblem where the folder cannot be written or gives back something else. Of a
    checkpoint over WHOLE bytes, and of one in shards, rank 0 tries a part of the weights.
    """
    root = Path(trainer.args.output_dir)
    first = trainer.args.process_index == 0
    partial = checkpoints.partial_of(root, trainer.state.global_step)
    weights = _weights(trainer)
    saving.together(lambda: _begin(root, trainer.state.global_step) if first else None)
    try:
        if weights is None:
            saving.together(lambda: trainer._check_parts(partial, first=first))
        saving.together(lambda: _round_trip(trainer, partial, weights, first=first))
    finally:
        if first:
            atomic.remove(partial)


def _weights(trainer: Any) -> dict[str, torch.Tensor] | None:
    """The part of the weights that is tried, or None where the whole checkpoint is."""
    model = trainer.model
    in_one_piece = not (trainer.is_deepspeed_enabled or sharding.is_sharded(model))
    if in_one_piece and saving.bytes_needed(model, trainer.optimizer) <= WHOLE:
        return None
    found: dict[str, torch.Tensor] = {}
    room = PART
    for name, weight in model.named_parameters():
        own = sharding.own(weight.detach())
        if weight.requires_grad and own.nbytes <= room:
            found[name] = own.cpu().contiguous()
            room -= own.nbytes
    return found


def _begin(root: Path, step: int) -> None:
    try:
        checkpoints.begin(root, step)
    except OSError as error:  # closed, read-only, or a link to what is not there
        raise EnvironmentProblem(
            f"checkpoints cannot be written ({error.strerror})",
            where=str(root),
            hint="--set output_root=FOLDER",
        ) from error


def _round_trip(
    trainer: Any, partial: Path, part: dict[str, torch.Tensor] | None, *, first: bool
) -> None:
    if part is None:
        trainer._write_parts(partial, first=first)
    elif first:
        needed = sum(weight.nbytes for weight in part.values())
        with saving.disk_full_is_said(partial, needed):
            safetensors.torch.save_file(part, partial / WEIGHTS)
    if first:
        weights = saving.trained_weights(trainer.model) if part is None else part
        with saving.disk_full_is_said(partial, sum(w.nbytes for w in weights.values())):
            atomic.sync_tree(partial)
        _compare(partial, weights)


def _compare(partial: Path, weights: dict[str, torch.Tensor]) -> None:
    """EnvironmentProblem where the disk gives back other weights than were written."""
    path = partial / WEIGHTS
    with path.open("rb") as stream:
        if hasattr(os, "posix_fadvise"):  # or the page cache would answer for the disk
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    found = safetensors.torch.load_file(path)
    bad = [
        name
        for name, weight in weights.items()
        if name not in found or not torch.equal(_bits(found[name]), _bits(weight))
    ]
    if bad:
        raise EnvironmentProblem(
            f"the disk gives back other weights than were written to it: {bad[0]}",
            where=str(partial.parent),
            hint="--set output_root=FOLDER on another disk",
        )


def _bits(weight: torch.Tensor) -> torch.Tensor:
    """Bytes, in which a NaN equals itself."""
    return weight.reshape(-1).view(torch.uint8)
