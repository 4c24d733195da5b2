"""Does this recipe fit on that machine, and how long will it take?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

from zephyrctl.config.schema import Recipe
from zephyrctl.config.schema.training import Dpo, Sft
from zephyrctl.planning import flops, memory
from zephyrctl.planning.architecture import Architecture
from zephyrctl.planning.hardware import Device
from zephyrctl.planning.workload import Workload

TrainingStage = Literal["sft", "dpo"]
USABLE = 0.95
"""Share of a device's memory that a step may plan with; the allocator fragments the rest."""
PADDING = 1.3
"""Tokens computed per real token where rows are padded instead of packed (1.3 to 2 measured)."""
_LARGEST_AUTO_MICRO_BATCH = 8


@dataclass(frozen=True)
class StagePlan:
    """One training stage. Unknown quantities are None."""

    stage: TrainingStage
    rows: int | None
    data: str
    """How rows and tokens are known."""
    steps: int | None
    micro_batch_size: int
    accumulation_steps: int
    tokens: float | None
    """Tokens computed, padding included."""
    flops: float | None
    hours: float | None
    memory: dict[str, float]
    """Bytes per device by what holds them."""
    peak_bytes: float
    fits: bool
    disk_bytes: float


@dataclass(frozen=True)
class Plan:
    """The whole recipe on one machine."""

    model: str
    parameters: int
    device: Device
    mfu: float
    stages: tuple[StagePlan, ...]
    download_bytes: float
    disk_bytes: float
    cost: float | None
    warnings: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether every stage fits into the device's memory."""
        return all(stage.fits for stage in self.stages)

    @property
    def hours(self) -> float | None:
        """Hours of all stages; None where one of them is unknown."""
        hours = [stage.hours for stage in self.stages]
        return None if None in hours else sum(cast("list[float]", hours))

    def to_json(self) -> dict[str, Any]:
        """The plan as `zephyrctl plan --json` prints it; bytes, hours, FLOPs."""
        return {**asdict(self), "fits": self.fits, "hours": self.hours}


def make(
    recipe: Recipe,
    model: Architecture,
    device: Device,
    *,
    workloads: Mapping[TrainingStage, Workload | None],
    on_disk: bool,
    mfu: float,
    price: float | None = None,
) -> Plan:
    """The plan of both training stages.

    `mfu` is the share of the device's peak that is reached, over all FLOPs that are executed;
    `price` is the cost of one device for one hour.
    """
    stages = tuple(
        _stage(recipe, name, model, device, workload=workloads[name], mfu=mfu)
        for name in ("sft", "dpo")
    )
    download = 0.0 if on_disk else 2.0 * model.parameters
    disk = download + sum(stage.disk_bytes for stage in stages)
    hours = [stage.hours for stage in stages]
    known = None if None in hours else sum(cast("list[float]", hours))
    cost = None if price is None or known is None else price * known * device.count
    return Plan(recipe.model.base, model.parameters, device, mfu, stages, download, disk, cost)


def split_batch(training: Sft | Dpo, processes: int) -> tuple[int, int]:
    """Micro-batch size and accumulation steps, as the training stage derives them.

    An uneven batch, which training refuses, is planned with the next larger micro-batch.
    """
    share = max(1, math.ceil(training.global_batch_size / processes))
    micro = training.micro_batch_size
    if micro == "auto":
        largest = min(_LARGEST_AUTO_MICRO_BATCH, share)
        micro = next(size for size in range(largest, 0, -1) if share % size == 0)
    return micro, math.ceil(share / micro)


def work_of(training: Sft | Dpo, model: Architecture, *, on_gpu: bool) -> flops.Work:
    """What a stage trains, and whether it recomputes activations."""
    checkpointing = training.gradient_checkpointing
    recompute = on_gpu if checkpointing == "auto" else bool(checkpointing)
    adapter = training.adapter
    if adapter.type != "none":
        targets = None if isinstance(adapter.target_modules, str) else len(adapter.target_modules)
        size = model.adapter(adapter.r, targets=targets)
        return flops.Work("adapter", recompute, adapter_parameters=size)
    if training.trainable_layers != "all":
        return flops.Work("last_layers", recompute, last_layers=training.trainable_layers)
    return flops.Work("weights", recompute)


def load_of(
    recipe: Recipe, stage: TrainingStage, model: Architecture, device: Device
) -> memory.Load:
    """What decides the memory of one process of a stage."""
    training = recipe.sft if stage == "sft" else recipe.dpo
    work = work_of(training, model, on_gpu=device.on_gpu)
    narrow = device.bf16 and recipe.model.dtype in ("auto", "bfloat16")
    micro, _ = split_batch(training, device.count)
    rows = 2 * micro if stage == "dpo" else micro  # chosen and rejected in one forward pass
    copy = stage == "dpo" and recipe.dpo.has_reference and recipe.dpo.reference == "copy"
    return memory.Load(
        work=work,
        weight_bytes=2 if work.trained == "adapter" and narrow else 4,
        compute_bytes=2 if narrow else 4,
        four_bit=recipe.model.load_in_4bit,
        optimizer=training.optimizer,
        micro_tokens=rows * training.max_length,
        reference_copy=copy and work.trained != "adapter",
        distributed=device.count > 1,
        on_gpu=device.on_gpu,
    )


def _stage(
    recipe: Recipe,
    stage: TrainingStage,
    model: Architecture,
    device: Device,
    *,
    workload: Workload | None,
    mfu: float,
) -> StagePlan:
    training = recipe.sft if stage == "sft" else recipe.dpo
    micro, accumulation = split_batch(training, device.count)
    load = load_of(recipe, stage, model, device)
    peak = memory.peak(model, load)
    steps = count_steps(training, workload)
    tokens = count_tokens(training, workload, steps=steps)
    work = None
    if tokens is not None and workload is not None:
        per_token = _flops_per_token(training, model, load.work, workload)
        work = tokens * per_token
    rate = device.peak * device.count * (mfu if device.on_gpu else 1.0) if device.peak else None
    return StagePlan(
        stage=stage,
        rows=workload.rows if workload else None,
        data=workload.source if workload else "unknown: prepare the data, or name local files",
        steps=steps,
        micro_batch_size=micro,
        accumulation_steps=accumulation,
        tokens=tokens,
        flops=work,
        hours=work / rate / 3600 if work is not None and rate else None,
        memory={key: float(value) for key, value in vars(peak).items()},
        peak_bytes=peak.total,
        fits=peak.total <= USABLE * device.memory,
        disk_bytes=disk(training, model, load),
    )


def count_steps(training: Sft | Dpo, workload: Workload | None) -> int | None:
    """Optimizer steps: stated, or derived from the rows (packed: from the tokens)."""
    if training.max_steps is not None:
        return training.max_steps
    if workload is None:
        return None
    rows = float(workload.rows)
    if isinstance(training, Sft) and training.packing != "none":
        rows = rows * workload.tokens_per_row / training.max_length
    return max(1, math.ceil(rows * training.epochs / training.global_batch_size))


def count_tokens(
    training: Sft | Dpo, workload: Workload | None, *, steps: int | None
) -> float | None:
    """Tokens computed over the whole stage, padding included."""
    if workload is None or steps is None:
        return None
    batch = steps * training.global_batch_size
    if isinstance(training, Sft) and training.packing != "none":
        return float(batch * training.max_length)
    longest = training.max_length * (1 if isinstance(training, Sft) else 2)
    return batch * min(PADDING * workload.tokens_per_row, longest)


def _flops_per_token(
    training: Sft | Dpo, model: Architecture, work: flops.Work, workload: Workload
) -> float:
    """FLOPs of one token of a stage; a reference adds its forward pass."""
    if isinstance(training, Dpo):
        context = workload.tokens_per_row / 4  # half of one answer with its prompt
        reference = flops.forward(model, context=context) if training.has_reference else 0
        return flops.training(model, work, context=context) + reference
    row = training.max_length if training.packing == "wrapped" else workload.tokens_per_row
    return flops.training(model, work, context=row / 2)


def disk(training: Sft | Dpo, model: Architecture, load: memory.Load) -> float:
    """Bytes of the kept checkpoints, of the one being written, and of the published model."""
    trained = memory.trained_parameters(model, load.work)
    state = memory.OPTIMIZER_BYTES[load.optimizer] * trained
    saved = 4 * (trained if load.work.trained == "adapter" else model.parameters)
    published = saved if load.work.trained == "adapter" else load.compute_bytes * model.parameters
    return (training.keep_checkpoints + 1) * (saved + state) + published
