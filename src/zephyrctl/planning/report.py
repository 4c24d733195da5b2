"""How is a plan shown to people?"""

from __future__ import annotations

from zephyrctl.planning.hardware import GIB
from zephyrctl.planning.plan import Plan, StagePlan

_PARTS = ("weights", "reference", "gradients", "optimizer", "compute_copies", "activations", "head")


def lines(plan: Plan) -> list[str]:
    """The plan as a table, and what each number rests on."""
    device = plan.device
    number = f"{device.count} × " if device.count > 1 else ""
    speed = "" if device.peak is None else f", {plan.mfu:.0%} of its peak" * device.on_gpu
    head = [
        f"model   {plan.model}, {_count(plan.parameters)} parameters",
        f"device  {number}{device.label}, {describe_bytes(device.memory)} each{speed}",
        "",
        f"{'stage':<6}{'rows':>10}{'steps':>8}{'batch':>14}{'tokens':>9}{'time':>11}"
        f"{'memory each':>14}{'disk':>11}",
    ]
    table = [_row(stage) for stage in plan.stages]
    tail = ["", *(_memory(stage) for stage in plan.stages), ""]
    tail += [f"{stage.stage}: rows and tokens {stage.data}" for stage in plan.stages]
    tail.append(f"disk in all ≈ {describe_bytes(plan.disk_bytes)}, of it {_download(plan)}")
    if plan.hours is not None:
        money = "" if plan.cost is None else f", cost ≈ {plan.cost:,.2f}"
        tail.append(
            f"time in all ≈ {_time(plan.hours)}{money}, evaluation and start-up not counted"
        )
    return [*head, *table, *tail, *(f"! {warning}" for warning in plan.warnings)]


def describe_bytes(count: float) -> str:
    """Bytes for people: GiB, below one of them MiB."""
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / 2**20:.0f} MiB"


def _row(stage: StagePlan) -> str:
    batch = f"{stage.micro_batch_size} × {stage.accumulation_steps} acc."
    time = _time(stage.hours) if stage.hours is not None else "unknown"
    rows = f"{stage.rows:,}" if stage.rows is not None else "unknown"
    steps = f"{stage.steps:,}" if stage.steps is not None else "unknown"
    tokens = _count(stage.tokens) if stage.tokens is not None else "unknown"
    fits = "" if stage.fits else "  does not fit"
    return (
        f"{stage.stage:<6}{rows:>10}{steps:>8}{batch:>14}{tokens:>9}{time:>11}"
        f"{describe_bytes(stage.peak_bytes):>14}{describe_bytes(stage.disk_bytes):>11}{fits}"
    )


def _memory(stage: StagePlan) -> str:
    parts = [
        f"{name.replace('_', ' ')} {describe_bytes(stage.memory[name])}"
        for name in _PARTS
        if stage.memory[name] > 0
    ]
    return f"{stage.stage} memory: {', '.join(parts)}"


def _download(plan: Plan) -> str:
    if plan.download_bytes == 0:
        return "nothing to download for the base model"
    return f"the base model's download ≈ {describe_bytes(plan.download_bytes)}"


def _time(hours: float) -> str:
    if hours >= 1:
        return f"{hours:.1f} h"
    return f"{hours * 60:.0f} min" if hours * 60 >= 1 else f"{hours * 3600:.0f} s"


def _count(number: float) -> str:
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.0f}"
