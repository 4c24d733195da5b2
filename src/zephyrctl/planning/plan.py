"""Does this recipe fit on that machine, what is chosen for it, and how long will it take?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

from zephyrctl.config.schema import Recipe
from zephyrctl.config.schema.training import Dpo, Sft
from zephyrctl.planning import calibration, choose, flops, lengths, memory
from zephyrctl.planning.architecture import Architecture
from zephyrctl.planning.choose import STAGES, USABLE, Choice, Setting, TrainingStage
from zephyrctl.planning.hardware import Device
from zephyrctl.planning.workload import Data

__all__ = ["USABLE", "Plan", "StagePlan", "TrainingStage", "make", "plan_stage"]

PADDING = 1.3
"""Tokens computed per real token where rows of unknown lengths are padded (1.3 to 2 measured)."""
_WEIGHTS_IN_CHECKPOINT = 4  # float32, as `training.trainer` saves what is trained


@dataclass(frozen=True)
class Machine:
    """Where a plan is made for, and what is known about it."""

    device: Device
    mfu: float
    """Share of the device's peak that is reached, over all FLOPs that are executed."""
    flash: bool
    """FlashAdamW's package is there."""
    torch: str | None = None
    gpu: str = ""
    """The device's name in the calibration table."""
    table: tuple[calibration.Entry, ...] = ()


@dataclass(frozen=True)
class Tokens:
    """Tokens of a whole stage. Unknown quantities are None."""

    real: float | None = None
    """As the data have them: both sequences of a pair, its prompt in each, no padding."""
    computed: float | None = None
    """What goes through the policy, padding included, a shared prompt once."""
    padded: float | None = None
    """What would be computed if rows were padded and prompts not shared."""
    context: float = 0.0
    """Tokens that a token sees, on average."""
    passes: int = 1
    """Forward passes per step and process."""
    largest: int = 0
    """Tokens of the largest pass."""


@dataclass(frozen=True)
class StagePlan:
    """One training stage. Unknown quantities are None."""

    stage: TrainingStage
    rows: int | None
    data: str
    """How rows and tokens are known."""
    steps: int | None
    trained: int
    strategy: str
    """How the devices share the work: `single`, `ddp`, `fsdp2` or `zero3`."""
    optimizer: str
    checkpointing: str
    micro_batch_tokens: int
    """Most tokens of a forward pass."""
    micro_batches: int
    """Forward passes per step and process."""
    padding_free: bool
    shared_prompts: bool
    tokens: Tokens
    flops: float | None
    mfu: float
    hours: float | None
    memory: dict[str, float]
    """Bytes per device by what holds them, at the fullest moment."""
    moment: str
    peak_bytes: float
    fits: bool
    disk_bytes: float
    reasons: tuple[str, ...]


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
    flash: bool = False
    """FlashAdamW may be chosen."""
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
    machine: Machine,
    *,
    data: Mapping[TrainingStage, Data],
    on_disk: bool,
    price: float | None = None,
) -> Plan:
    """The plan of both training stages; `price` is the cost of one device for one hour."""
    stages = tuple(plan_stage(recipe, name, model, machine, data=data[name])[0] for name in STAGES)
    download = 0.0 if on_disk else 2.0 * model.parameters
    disk_bytes = download + sum(stage.disk_bytes for stage in stages)
    hours = [stage.hours for stage in stages]
    known = None if None in hours else sum(cast("list[float]", hours))
    cost = None if price is None or known is None else price * known * machine.device.count
    return Plan(
        recipe.model.base,
        model.parameters,
        machine.device,
        machine.mfu,
        stages,
        download,
        disk_bytes,
        cost,
        machine.flash,
    )


def plan_stage(
    recipe: Recipe,
    stage: TrainingStage,
    model: Architecture,
    machine: Machine,
    *,
    data: Data,
    keep: str | None = None,
) -> tuple[StagePlan, Choice]:
    """The plan of one stage, and what was chosen for it; `keep` as in `choose.choose`."""
    training = recipe.sft if stage == "sft" else recipe.dpo
    entry = calibration.find(
        machine.table,
        gpu=machine.gpu,
        torch=machine.torch,
        mode=calibration.mode_of(
            stage=stage,
            adapter=training.adapter.type,
            four_bit=recipe.model.load_in_4bit,
            compiled=training.compile is True,
        ),
    )
    costs = choose.stage_costs(data.rows, recipe, stage, model=model, device=machine.device)
    setting = Setting(recipe, stage, model, machine.device, costs, entry)
    choice = choose.choose(setting, flash=machine.flash, keep=keep)
    steps = count_steps(training, data)
    tokens = count_tokens(setting, choice, data, steps=steps)
    work = count_flops(setting, choice, tokens, examples=_examples(training, data, steps=steps))
    mfu = entry.mfu if entry is not None and entry.mfu is not None else machine.mfu
    planned = StagePlan(
        stage=stage,
        rows=data.workload.rows if data.workload else None,
        data=data.workload.source
        if data.workload
        else "unknown: prepare the data, or name local files",
        steps=steps,
        trained=memory.trained_parameters(model, choice.load.work),
        strategy=choice.strategy,
        optimizer=choice.optimizer,
        checkpointing=choice.checkpointing,
        micro_batch_tokens=choice.micro_tokens,
        micro_batches=tokens.passes,
        padding_free=setting.layout.padding_free,
        shared_prompts=setting.layout.shared,
        tokens=tokens,
        flops=work,
        mfu=mfu,
        hours=_hours(work, machine.device, mfu=mfu),
        memory=choice.peak.parts,
        moment=choice.peak.moment,
        peak_bytes=choice.peak.total,
        fits=choice.fits,
        disk_bytes=disk(training, model, choice),
        reasons=choice.reasons,
    )
    return planned, choice


def _hours(work: float | None, device: Device, *, mfu: float) -> float | None:
    if work is None or device.peak is None:
        return None
    return work / (device.peak * device.count * (mfu if device.on_gpu else 1.0)) / 3600


def count_steps(training: Sft | Dpo, data: Data) -> int | None:
    """Optimizer steps: stated, or derived from the rows (packed: from the tokens)."""
    if training.max_steps is not None:
        return training.max_steps
    if data.workload is None:
        return None
    size = training.global_batch_size
    return max(1, math.ceil(training.epochs * math.ceil(_rows(training, data) / size)))


def _rows(training: Sft | Dpo, data: Data) -> float:
    """Rows that are trained: dialogues or pairs, or what they are packed to."""
    assert data.workload is not None
    rows = float(data.workload.rows)
    if choose.is_packed(training):
        rows = math.ceil(rows * data.workload.tokens_per_row / training.max_length)
    return rows


def _examples(training: Sft | Dpo, data: Data, *, steps: int | None) -> float | None:
    """Distinct examples that the stage sees, for what is computed once for each."""
    if data.workload is None or steps is None:
        return None
    return min(_rows(training, data), float(steps * training.global_batch_size))


def count_tokens(setting: Setting, choice: Choice, data: Data, *, steps: int | None) -> Tokens:
    """Tokens of the whole stage: from the prepared rows' lengths, else from their mean."""
    training, layout = setting.training, setting.layout
    batch, processes = training.global_batch_size, setting.device.count
    share = math.ceil(batch / processes)
    if choose.is_packed(training):
        total = None if steps is None else float(steps * batch * training.max_length)
        per_pass = max(1, choice.micro_tokens // training.max_length)
        passes = math.ceil(share / per_pass)
        mean = data.workload.tokens_per_row if data.workload else training.max_length
        wrapped = isinstance(training, Sft) and training.packing == "wrapped"
        seen = training.max_length if wrapped else min(mean, training.max_length)
        return Tokens(total, total, total, seen / 2, passes, per_pass * training.max_length)
    if data.workload is None or steps is None:
        return Tokens(passes=math.ceil(setting.step_tokens / choice.micro_tokens))
    if data.rows is not None:
        return _counted(setting, choice, data.rows, steps=steps)
    real = data.workload.tokens_per_row * (steps * batch)
    is_pair = isinstance(training, Dpo)
    longest = training.max_length * (2 if is_pair else 1)
    padded = min(PADDING * data.workload.tokens_per_row, longest) * (steps * batch)
    prompts = data.workload.prompt_tokens * (steps * batch) if layout.shared else 0.0
    computed = real - prompts if layout.padding_free else padded
    passes = math.ceil(computed / steps / processes / choice.micro_tokens)
    context = data.workload.tokens_per_row / (4 if is_pair else 2)
    return Tokens(real, computed, padded, context, max(1, passes), choice.micro_tokens)


def _counted(setting: Setting, choice: Choice, rows: list[lengths.Row], *, steps: int) -> Tokens:
    training, count = setting.training, setting.device.count
    size = training.micro_batch_size
    number = size if size != "auto" else None
    batch = training.global_batch_size

    def traffic(layout: lengths.Layout) -> lengths.Traffic:
        return lengths.traffic(
            rows,
            layout,
            batch=batch,
            processes=count,
            limit=choice.micro_tokens,
            micro_batch=number,
        )

    ours = traffic(setting.layout)
    plain = traffic(lengths.Layout(padding_free=False))
    epochs = steps * batch / len(rows)
    costs = lengths.costs_of(rows, setting.layout)
    context = costs.real / (4 if setting.stage == "dpo" else 2)
    return Tokens(
        real=costs.real * steps * batch,
        computed=ours.computed * epochs,
        padded=plain.computed * epochs,
        context=context,
        passes=ours.passes,
        largest=ours.largest,
    )


def count_flops(
    setting: Setting, choice: Choice, tokens: Tokens, *, examples: float | None
) -> float | None:
    """FLOPs of a stage: its tokens, and the reference's forward pass over them, at every step or
    once for each pair."""
    if tokens.computed is None:
        return None
    model, training = setting.model, setting.training
    total = tokens.computed * flops.training(model, choice.load.work, context=tokens.context)
    if isinstance(training, Dpo) and training.has_reference and examples:
        share = 1.0
        if training.reference in ("auto", "precompute") and training.max_steps is None:
            share = min(1.0, 1 / training.epochs)
        total += tokens.computed * share * flops.forward(model, context=tokens.context)
    return total


def disk(training: Sft | Dpo, model: Architecture, choice: Choice) -> float:
    """Bytes of the kept checkpoints, of the one being written, and of the published model."""
    work = choice.load.work
    trained = memory.trained_parameters(model, work)
    rates = memory.OPTIMIZERS[choice.optimizer]
    weight = _WEIGHTS_IN_CHECKPOINT if work.trained == "adapter" else rates.weight
    checkpoint = (weight + rates.state) * trained
    published = 4.0 * trained
    if work.trained != "adapter":
        published = float(choice.load.forward.product_bytes * model.parameters)
    return (training.most_checkpoints + 1) * checkpoint + published
