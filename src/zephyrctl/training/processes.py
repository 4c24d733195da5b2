"""Which process of how many is this, on which device, and how do they agree?"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist

from zephyrctl.config.schema import Recipe
from zephyrctl.errors import JobFailed
from zephyrctl.runs import heartbeat

_LEAST_TIMEOUT_S = 10.0
"""Of a step's collectives: the processes reach their first one at different times."""
_WATCHDOG_FIRST_S = 5.0
"""The watchdog keeps the stacks of all; an error here would end the processes before it looks."""
_PATIENCE_S = 6 * 3600.0
"""For one process that reads, hashes or writes what the others wait for."""

T = TypeVar("T")
_patient: Any = None
"""The group of `barrier`, `from_first` and `gather`; None is the default group."""


@dataclass(frozen=True)
class World:
    """The processes that train together, and what they compute on."""

    rank: int
    size: int
    device: Literal["cpu", "cuda"]
    bf16: bool
    """Whether matrix products are computed in bfloat16 (autocast)."""

    @property
    def is_first(self) -> bool:
        return self.rank == 0


def join(recipe: Recipe) -> World:
    """Join the other processes of this launch, from torchrun's environment.

    The group is made here, before any TrainingArguments: with `use_cpu` they would form one
    without a timeout, and without it several CPU processes would each train alone
    (transformers 5.23, accelerate 1.15).
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    on_gpu = recipe.launch.gpus != "none" and torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    else:
        _use_all_cores(int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    if size > 1 and not dist.is_initialized():
        _meet("nccl" if on_gpu else "gloo", hang_after_s=recipe.launch.hang_after_s)
    if size == 1 and torch.cuda.device_count() <= 1:
        # torchrun sets these for one process too; accelerate would then wrap the model in DDP.
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
            os.environ.pop(name, None)
    # On this project's CPUs bfloat16 autocast was 1.3 to 1.7 times slower than float32.
    bf16 = on_gpu and torch.cuda.is_bf16_supported() and recipe.model.dtype in ("auto", "bfloat16")
    rank = dist.get_rank() if size > 1 else 0
    return World(rank, size, "cuda" if on_gpu else "cpu", bf16)


def _meet(backend: str, *, hang_after_s: float) -> None:
    """Make two groups. A step's collectives time out when the job counts as hung: a dead link has
    no other sign. Waiting for one process's own work is done in a patient group; whether that
    process lives is seen by its heartbeat."""
    global _patient
    timeout = timedelta(seconds=max(_LEAST_TIMEOUT_S, hang_after_s + _WATCHDOG_FIRST_S))
    dist.init_process_group(backend, timeout=timeout)
    _patient = dist.new_group(backend="gloo", timeout=timedelta(seconds=_PATIENCE_S))


def _use_all_cores(processes: int) -> None:
    """Threads = cores of this process's share, unless OMP_NUM_THREADS decides."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // processes))


def any_rank(flag: bool, *, device: torch.device) -> bool:
    """Whether the flag is set on any process; every process must call it."""
    if not dist.is_initialized():
        return flag
    vote = torch.tensor(int(flag), device=device)
    dist.all_reduce(vote, op=dist.ReduceOp.MAX)
    return bool(vote.item())


def count_of_processes() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def largest(values: list[float], *, device: torch.device) -> list[float]:
    """The largest of each number over all processes; every process must call it."""
    if not dist.is_initialized():
        return values
    found = torch.tensor(values, dtype=torch.float32, device=device)
    dist.all_reduce(found, op=dist.ReduceOp.MAX)
    return found.tolist()


def barrier() -> None:
    """Wait for every process."""
    if dist.is_initialized():
        with heartbeat.resting("waiting"):
            dist.barrier(group=_patient)


def from_first(value: Any) -> Any:
    """Rank 0's value on every process."""
    if not dist.is_initialized():
        return value
    box = [value]
    with heartbeat.resting("waiting"):
        dist.broadcast_object_list(box, src=0, group=_patient)
    return box[0]


def gather(value: Any) -> list[Any]:
    """Every process's value, by rank, on every process."""
    if not dist.is_initialized():
        return [value]
    box: list[Any] = [None] * dist.get_world_size()
    with heartbeat.resting("waiting"):
        dist.all_gather_object(box, value, group=_patient)
    return box


def by_first(work: Callable[[], T]) -> T:
    """What `work` returns on rank 0, which alone does it; its value on every process.

    JobFailed on the others where it failed.
    """
    if not dist.is_initialized():
        with heartbeat.resting("working alone"):
            return work()
    result, is_done = None, False
    try:
        if dist.get_rank() == 0:
            with heartbeat.resting("working alone"):
                result, is_done = work(), True
    finally:
        result, is_done = from_first((result, is_done))
    if not is_done:
        raise JobFailed("rank 0 failed", hint="its error is the one to look at")
    return result  # type: ignore[return-value]
