"""How does the trainer write a checkpoint, and go on from one exactly?

Saved is everything that decides the next step: trained weights, the optimizer's state, the place in
the schedule, the random states of every rank, and what the run knows of itself. What is written is
whole only when `checkpoints.commit` has renamed it.
"""

import os
import random
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import safetensors.torch
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from transformers import Trainer, set_seed

from zephyrctl import environment
from zephyrctl.errors import (
    DataError,
    DiskFull,
    JobFailed,
    TrainingDiverged,
    ZephyrctlError,
    quoted,
)
from zephyrctl.runs import atomic, faults, heartbeat
from zephyrctl.training import checkpoint_record, checkpoints, sharding
from zephyrctl.training.checkpoint_record import OPTIMIZER, SCHEDULER, TRAINER_STATE, WEIGHTS
from zephyrctl.training.processes import gather

_FROM_RECIPE = ("weight_decay", "betas", "eps", "momentum", "alpha")
"""Settings of a parameter group that the recipe decides, and not the checkpoint."""
_NO_SPACE = ("No space left on device", *(f"os error {number}" for number in atomic.NO_SPACE))

_Base = Trainer if TYPE_CHECKING else object
T = TypeVar("T")


class Saving(_Base):
    """Small checkpoints in a folder that does not count until it is committed."""

    model: Any
    optimizer: Any
    lr_scheduler: Any

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Every rank writes its part. transformers 5.23 would write into the final folder, without
        a sync, and delete older ones before anybody could look at the new one."""
        del model, trial
        step = self.state.global_step
        root = Path(str(self.args.output_dir))
        first = self.args.process_index == 0
        faults.meet("saving", step)
        folder = checkpoints.partial_of(root, step)
        with heartbeat.resting("saving"), nothing_partial(folder, first=first):
            together(lambda: checkpoints.begin(root, step) if first else None)
            # Shards are written in step: who may not write must say so before the others begin.
            together(lambda: self._check_parts(folder, first=first))
            together(lambda: self._write_parts(folder, first=first))

    def _check_parts(self, folder: Path, *, first: bool) -> None:
        """TrainingDiverged where this process's weights are not finite, DiskFull where there is no
        room for the whole checkpoint."""
        _check_finite(self.model, step=self.state.global_step, folder=folder)
        needed = bytes_needed(self.model, self.optimizer)
        if first and environment.free_disk(folder) < needed:
            raise no_room(folder, needed)

    def _write_parts(self, folder: Path, *, first: bool) -> None:
        model = self.model
        with disk_full_is_said(folder, bytes_needed(model, self.optimizer)):
            if self.is_deepspeed_enabled:
                self._save_optimizer_and_scheduler(str(folder))
            elif sharding.is_sharded(model):
                sharding.save_shards(model, self.optimizer, folder)
            elif first:
                safetensors.torch.save_file(trained_weights(model), folder / WEIGHTS)
                write_state(folder / OPTIMIZER, self.optimizer.state_dict())
            if first:
                write_state(folder / SCHEDULER, self.lr_scheduler.state_dict())
                self.state.save_to_json(str(folder / TRAINER_STATE))
            write_state(
                folder / checkpoint_record.rng_file(self.args.process_index), random_states()
            )

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Weights in one piece; shards come with the optimizer. Every trained one must be there."""
        folder = Path(resume_from_checkpoint)
        if checkpoint_record.read(folder).sharded:
            return
        saved = safetensors.torch.load_file(folder / WEIGHTS)
        wanted = {n: w for n, w in (model or self.model).named_parameters() if w.requires_grad}
        forms = [{n: (w.shape, w.dtype) for n, w in held.items()} for held in (saved, wanted)]
        if forms[0] != forms[1]:
            raise DataError(
                "the checkpoint holds other weights than are trained", where=str(folder / WEIGHTS)
            )
        with torch.no_grad():
            for name, weight in wanted.items():
                weight.copy_(saved[name])

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """The optimizer's state, under the settings of the recipe. transformers 5.23 takes rates,
        betas and weight decay from the checkpoint, so that a changed one has no effect."""
        if checkpoint is None or self.is_deepspeed_enabled:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        folder = Path(checkpoint)
        groups: list[dict[str, Any]] = self.optimizer.param_groups
        of_recipe = [{key: g[key] for key in _FROM_RECIPE if key in g} for g in groups]
        if checkpoint_record.read(folder).sharded:
            sharding.load_shards(self.model, self.optimizer, folder)
        else:
            # On a GPU the file is only mapped: eight ranks would hold eight copies of it.
            on_gpu = self.args.device.type == "cuda"
            state = torch.load(
                folder / OPTIMIZER, map_location="cpu", weights_only=True, mmap=on_gpu
            )
            self.optimizer.load_state_dict(state)
        for group, settings in zip(self.optimizer.param_groups, of_recipe, strict=True):
            group.update(settings)
        place = torch.load(folder / SCHEDULER, weights_only=True)["last_epoch"]
        go_on_at(self.lr_scheduler, place)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """This rank's random states. With another number of ranks nobody's can be continued: new
        ones begin that depend on seed, step and rank only."""
        if checkpoint is None:
            return
        folder, rank = Path(checkpoint), self.args.process_index
        record = checkpoint_record.read(folder)
        if record.world_size == self.args.world_size:
            path = folder / checkpoint_record.rng_file(rank)
            restore_random_states(torch.load(path, map_location="cpu", weights_only=True))
        else:
            set_seed((self.args.seed + 1_000_003 * record.step + rank) % 2**32)


def trained_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Weights that are trained, on the CPU, by name; tied ones once."""
    return {
        name: weight.detach().cpu().contiguous()
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }


def bytes_needed(model: nn.Module, optimizer: Any) -> int:
    """Bytes of a checkpoint, but for what does not grow with the model."""
    weights = sum(w.nbytes for w in model.parameters() if w.requires_grad)
    states = (value for state in optimizer.state.values() for value in state.values())
    return weights + sum(value.nbytes for value in states if isinstance(value, torch.Tensor))


def go_on_at(scheduler: Any, step: int) -> None:
    """Put a schedule that was just made at a step: the rate is the recipe's peak × its shape."""
    assert isinstance(scheduler, LambdaLR), "every schedule of the schema is one"
    scheduler.last_epoch = step
    scheduler._step_count = step + 1
    rates = [
        peak * shape(step)
        for peak, shape in zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
    ]
    for group, peak, rate in zip(
        scheduler.optimizer.param_groups, scheduler.base_lrs, rates, strict=True
    ):
        group["initial_lr"], group["lr"] = peak, rate
    scheduler._last_lr = rates


def random_states() -> dict[str, Any]:
    """The states of every generator that this process draws from."""
    name, keys, *rest = np.random.get_state()
    states: dict[str, Any] = {
        "python": random.getstate(),
        # numpy's own type would need an exception from torch's safe loading.
        "numpy": (name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def restore_random_states(states: dict[str, Any]) -> None:
    """Go on drawing where `random_states` was called."""
    random.setstate(states["python"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])


def together(work: Callable[[], T]) -> T:
    """What `work` returns. An error of one rank is raised by all, so that none waits for it."""
    result, error = None, None
    try:
        result = work()
    except ZephyrctlError as problem:
        error = problem
    except Exception as problem:
        traceback.print_exception(problem)  # into the log; the worker shows none of its own errors
        error = JobFailed(f"{type(problem).__name__}: {problem}", hint="the log has the traceback")
        error.__cause__ = problem
    for found in gather(error):
        if found is not None:
            raise error or found
    return result  # type: ignore[return-value]


def commit(
    partial: Path,
    facts: checkpoints.Facts,
    *,
    first: bool,
    add: Callable[[Path], None] = lambda folder: None,
) -> Path:
    """Make the parts of all ranks a verified checkpoint; every rank must call it. DiskFull,
    EnvironmentProblem (not read back as written) on all of them alike.

    `add` writes what only the first rank knows."""
    with heartbeat.resting("saving"), nothing_partial(partial, first=first):
        # Nobody walks the folder of a shared disk while the first rank still writes into it.
        together(lambda: add(partial) if first else None)
        faults.meet("save", facts.step)

        def said(do: Callable[[], object]) -> None:
            with disk_full_is_said(partial, _size_of(partial)):
                do()

        # A machine knows only of its own files which of them are not on the disk yet.
        syncs = os.environ.get("LOCAL_RANK", "0") == "0" and not first
        together(lambda: said(lambda: atomic.sync_tree(partial)) if syncs else None)
        together(lambda: said(lambda: checkpoints.commit(partial, facts)) if first else None)
    return checkpoints.folder_of(partial.parent, facts.step)


@contextmanager
def nothing_partial(folder: Path, *, first: bool) -> Iterator[None]:
    """Delete the folder where the block fails."""
    try:
        yield
    except BaseException:
        if first:
            with suppress(OSError):  # what failed is the error to tell; the next scan tries again
                atomic.remove(folder)
        raise


@contextmanager
def disk_full_is_said(folder: Path, needed: int) -> Iterator[None]:
    """Turn "no space left", however it was wrapped by torch or safetensors, into DiskFull."""
    try:
        yield
    except Exception as error:
        if not _is_disk_full(error):
            raise
        raise no_room(folder, needed) from error


def no_room(folder: Path, needed: int) -> DiskFull:
    """What to say where a checkpoint does not fit; `needed` is in bytes."""
    free = environment.free_disk(folder) + _size_of(folder)
    why = f"{free:,} are free" if free < needed else "its files may not grow so large (a limit)"
    return DiskFull(
        f"{folder.name.removesuffix(checkpoints.PARTIAL)} needs {needed:,} bytes and {why}",
        where=str(folder.parent),
        hint=f"df -h {quoted(folder.parent)}; older checkpoints stand, the same command goes on "
        "from them",
    )


def _size_of(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _is_disk_full(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in atomic.NO_SPACE:
            return True
        if any(words in str(error) for words in _NO_SPACE):
            return True
        error = error.__cause__ or error.__context__
    return False


def _check_finite(model: nn.Module, *, step: int, folder: Path) -> None:
    bad = [
        name
        for name, weight in model.named_parameters()
        if weight.requires_grad and not torch.isfinite(sharding.own(weight.detach())).all()
    ]
    if bad:
        raise TrainingDiverged(
            f"weights are not finite at step {step}: {bad[0]}"
            f"{f' and {len(bad) - 1} more' if len(bad) > 1 else ''}",
            where=str(folder.parent),
            hint="a lower learning_rate; the last good checkpoint is kept",
        )


def write_state(path: Path, value: Any) -> None:
    """`torch.save` through a file of Python's, whose error names what went wrong."""
    with path.open("wb") as stream:
        torch.save(value, stream)
