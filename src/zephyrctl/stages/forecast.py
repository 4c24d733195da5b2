"""What will a training stage need on this very device, and what did it turn out to need?

Asked in the worker, before anything is loaded: the prepared rows and the device are known there.
Every `auto` that memory decides is made concrete, too little memory or disk is an error before any
work, and what was predicted is kept beside what is measured.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zephyrctl import environment
from zephyrctl.config.schema import Recipe
from zephyrctl.errors import DiskFull, EnvironmentProblem, ZephyrctlError
from zephyrctl.planning import architecture, calibration, choose, hardware, memory
from zephyrctl.planning.architecture import Architecture
from zephyrctl.planning.choose import Choice, Setting, TrainingStage
from zephyrctl.planning.hardware import Device
from zephyrctl.planning.plan import Machine, StagePlan, plan_stage
from zephyrctl.planning.remedies import ways_out
from zephyrctl.planning.report import memory_parts
from zephyrctl.planning.workload import Data, of_prepared
from zephyrctl.runs.atomic import write_json
from zephyrctl.runs.manifest import Result
from zephyrctl.runs.store import Run, StageDir
from zephyrctl.sizes import size_words

if TYPE_CHECKING:
    from zephyrctl.training.processes import World

FILE = "forecast.json"
MFU = 0.4
"""Share of a GPU's peak where nothing was measured."""


@dataclass(frozen=True)
class Forecast:
    """The recipe as it will be trained here, and what that will take; unknown is None."""

    recipe: Recipe
    peak_bytes: float | None = None
    """Of one process: on a GPU what torch allocates, on a CPU the resident set."""
    seconds: float | None = None
    """Of all optimizer steps."""
    optimizer: str | None = None
    notices: tuple[str, ...] = ()


def make(recipe: Recipe, run: Run, stage: TrainingStage) -> Forecast:
    """The forecast of rank 0, the same on every rank; EnvironmentProblem or DiskFull where this
    machine is too small, the starting point's own errors where it cannot be read. Every rank must
    call it."""
    from zephyrctl.training.processes import from_first, join

    world = join(recipe)
    folder = run.stage(stage)
    found: Forecast | ZephyrctlError | None = None
    if world.is_first:
        try:
            found = _make(recipe, run, stage, world)
        except ZephyrctlError as error:
            found = error  # every rank must hear of it
    found = from_first(found)
    assert found is not None
    if isinstance(found, ZephyrctlError):
        raise found
    if world.is_first:
        for text in found.notices:
            folder.reporter().notice(text)
    return found


def carry_over(folder: StageDir, *, before: str) -> None:
    """Keep what `auto` came to where inputs are changed within a training: the state of its
    optimizer is in the checkpoints. `before` is the digest of the inputs until now."""
    try:
        record = json.loads((folder.path / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if record.get("digest") == before:
        write_json(folder.path / FILE, {**record, "digest": _digest(folder)})


def compared(forecast: Forecast, result: Result, folder: StageDir) -> Result:
    """The result with the prediction beside the measurement, and a notice that says both."""
    metrics = dict(result.metrics)
    parts: list[str] = []
    for name, key, predicted, show in (
        ("memory", "peak_memory_bytes", forecast.peak_bytes, size_words),
        ("time", "train_seconds", forecast.seconds, "{:.0f} s".format),
    ):
        measured = metrics.get(key)
        if predicted is None or not measured:
            continue
        short = "peak" if name == "memory" else "seconds"
        metrics[f"predicted_{short}{'_bytes' if name == 'memory' else ''}"] = predicted
        metrics[f"{short}_prediction_error"] = predicted / measured - 1
        parts.append(
            f"{name} {show(predicted)} predicted, {show(measured)} measured "
            f"({predicted / measured - 1:+.0%})"
        )
    if parts:
        folder.reporter().notice("; ".join(parts))
    return replace(result, metrics=metrics)


def _make(recipe: Recipe, run: Run, stage: TrainingStage, world: World) -> Forecast:
    model = _sizes(recipe, run, stage)
    if model is None:
        text = "memory and time cannot be predicted: the sizes of this model are not known"
        return Forecast(recipe, notices=(text,))
    folder = run.stage(stage)
    device = device_of(world)
    data = of_prepared(recipe, run.stage("data").path, stage)
    machine = _machine(device, flash=world.device == "cuda")
    before = _earlier_attempt(folder)
    asked = _as_before(recipe, stage, before) if before else recipe
    planned, choice = plan_stage(asked, stage, model, machine, data=data)
    if before and not choice.fits:  # a smaller device; only the optimizer's state must stay
        asked = recipe
        keep = before["optimizer"]
        planned, choice = plan_stage(recipe, stage, model, machine, data=data, keep=keep)
    if choice.peak.total > device.memory:
        raise _too_small(recipe, stage, model, device, choice=choice, flash=machine.flash)
    _check_disk(folder, planned)
    settled = choice.applied(asked, stage)
    largest = _largest_pass(settled, stage, data, world, model=model)
    peak = choice.peak
    if largest is not None:
        costs = choose.stage_costs(data.rows, recipe, stage, model=model, device=device)
        setting = Setting(settled, stage, model, device, costs)
        rung = choose.Rung(choice.strategy, choice.optimizer, choice.checkpointing)
        load = choose.load_of(setting, rung, tokens=largest)
        peak = memory.peak(model, load)
    size = peak.total if world.device == "cpu" else peak.allocated
    seconds = planned.hours * 3600 if planned.hours is not None else None
    write_json(
        folder.path / FILE,
        {
            "digest": _digest(folder),
            "strategy": choice.strategy,
            "optimizer": choice.optimizer,
            "checkpointing": choice.checkpointing,
            "micro_batch_tokens": choice.micro_tokens,
            "predicted_peak_bytes": size,
            "predicted_seconds": seconds,
            "memory": peak.parts,
            "moment": peak.moment,
            "device": device.label,
            "reasons": list(choice.reasons),
        },
    )
    notices = (*choice.reasons, f"memory: {memory_parts(peak.parts)}")
    return Forecast(settled, size, seconds, choice.optimizer, notices)


def device_of(world: World) -> Device:
    """What this process computes on, as it is now: free memory counts, and on a CPU what the
    process holds already is part of its peak."""
    if world.device == "cuda":
        import torch

        free, total = torch.cuda.mem_get_info()
        name = torch.cuda.get_device_name()
        known = next((n for n in hardware.names() if n == hardware.name_of(name)), None)
        peak = hardware.stated(known, count=1).peak if known else None
        # The context stands already, so free memory is without it.
        room = min(total, free + round(memory.GPU_OVERHEAD))
        return Device(name, world.size, room, peak, True, world.bf16)
    found = environment.memory()
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    resident = resident_bytes()
    share = found.available // local + resident
    return Device("CPU", world.size, share, None, False, False, float(resident))


def resident_bytes() -> int:
    """Memory that this process holds now."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return pages * os.sysconf("SC_PAGE_SIZE")


def _machine(device: Device, *, flash: bool) -> Machine:
    return Machine(
        device,
        MFU,
        flash=flash and environment.package_version("flashoptim") is not None,
        torch=environment.package_version("torch"),
        gpu=hardware.name_of(device.label),
        table=tuple(calibration.read()) if device.on_gpu else (),
    )


def _sizes(recipe: Recipe, run: Run, stage: TrainingStage) -> Architecture | None:
    """The sizes of the model that the stage starts from, at the bottom of its adapters."""
    from zephyrctl.training import starting_point

    start = starting_point.find(recipe, run, stage=stage, say=run.stage(stage).reporter().notice)
    return architecture.find(start.label, folder=start.base)


def _largest_pass(
    recipe: Recipe, stage: TrainingStage, data: Data, world: World, *, model: Architecture
) -> int | None:
    """Tokens of the largest forward pass that this training will make; None for packed rows, which
    are not made yet."""
    from zephyrctl.planning import lengths
    from zephyrctl.training import micro_batches, order

    training = recipe.sft if stage == "sft" else recipe.dpo
    if data.rows is None or choose.is_packed(training):
        return None
    if training.global_batch_size % world.size:
        return None  # training refuses it
    layout = choose.layout_of(recipe, stage, model)
    each = [lengths.cost(row, layout) for row in data.rows]
    planned = order.plan(training, lengths=each, seed=recipe.seed)
    costs = micro_batches.Costs(each, padded=not layout.padding_free)
    passes = micro_batches.plan(training, planned, costs, world_size=world.size, rank=0)
    return passes.most_tokens


def _earlier_attempt(folder: StageDir) -> Mapping[str, Any] | None:
    """The record of an earlier attempt at the same work that left checkpoints."""
    if not any(folder.checkpoints.glob("checkpoint-*")):
        return None
    try:
        record: Mapping[str, Any] = json.loads((folder.path / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    same = record.get("digest") == _digest(folder)
    return record if same and record.get("optimizer") in memory.OPTIMIZERS else None


def _as_before(recipe: Recipe, stage: TrainingStage, before: Mapping[str, Any]) -> Recipe:
    """Every `auto` as the earlier attempt decided it: passes of other sizes would give the same
    steps with other rounding, and so no bit-equal end."""
    values = recipe.model_dump()
    section: dict[str, Any] = values[stage]
    if values["launch"]["strategy"] == "auto" and before.get("strategy", "single") != "single":
        values["launch"]["strategy"] = before["strategy"]
    checkpointing = {"none": False, "selective": "selective", "full": True}
    decided = {
        "optimizer": before["optimizer"],
        "gradient_checkpointing": checkpointing[before["checkpointing"]],
    }
    if section["micro_batch_size"] == "auto":
        decided["micro_batch_tokens"] = before["micro_batch_tokens"]
    values[stage] = section | {k: v for k, v in decided.items() if section[k] == "auto"}
    return Recipe.model_validate(values)


def _digest(folder: StageDir) -> str:
    manifest = folder.read_manifest()
    return manifest.digest if manifest is not None else ""


def _too_small(
    recipe: Recipe,
    stage: TrainingStage,
    model: Architecture,
    device: Device,
    *,
    choice: Choice,
    flash: bool,
) -> EnvironmentProblem:
    ways = ways_out(recipe, model, device, stages=(stage,), flash=flash)
    other = "another machine (zephyrctl plan --gpu NAME says which), or a smaller base model"
    return EnvironmentProblem(
        f"{stage} needs ≈ {size_words(choice.peak.total)} on each device, where "
        f"{size_words(device.memory)} can be had: {memory_parts(choice.peak.parts)}",
        where=device.label,
        hint=ways[0] if ways else other,
    )


def _check_disk(folder: StageDir, planned: StagePlan) -> None:
    # What stands of the checkpoints has its room already.
    free = environment.free_disk(folder.path) + folder.checkpoint_bytes()
    if free < planned.disk_bytes:
        name = folder.name
        raise DiskFull(
            f"checkpoints and model of {name} need {size_words(planned.disk_bytes)}, "
            f"{size_words(free)} can be had",
            where=str(folder.path),
            hint=f"--set {name}.keep_checkpoints=1, or --set output_root=FOLDER",
        )
