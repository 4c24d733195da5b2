"""How is a plan shown to people? In 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from zephyrctl.planning.plan import Plan, StagePlan
from zephyrctl.sizes import size_words

WIDTH = 80
_PARTS = {
    "weights": "weights",
    "reference": "reference",
    "gradients": "gradients",
    "optimizer": "optimizer",
    "compute_copies": "bfloat16 copies",
    "activations": "activations",
    "head": "logits",
    "working": "work of the moment",
    "overhead": "outside of tensors",
}
_SHARED = {
    "single": "",
    "ddp": " by ddp (the whole model on each device)",
    "fsdp2": " by fsdp2 (weights, gradients and optimizer state shared out)",
    "zero3": " by zero3 (weights, gradients and optimizer state shared out)",
}
_RECOMPUTED = {"none": "nothing recomputed", "selective": "all but attention recomputed"}


def lines(plan: Plan) -> list[str]:
    """The plan as a table, what is chosen and why, and what each number rests on."""
    device = plan.device
    number = f"{device.count} × " if device.count > 1 else ""
    speeds = {stage.mfu for stage in plan.stages}
    reached = " and ".join(f"{speed:.0%}" for speed in sorted(speeds))
    speed = "" if device.peak is None else f", {reached} of its peak" * device.on_gpu
    found = [
        f"model   {plan.model}, {count(plan.parameters)} parameters",
        f"device  {number}{device.label}, {size_words(device.memory)} each{speed}",
        "",
        f"{'stage':<6}{'rows':>10}{'steps':>8}{'passes':>8}{'tokens':>9}{'time':>9}"
        f"{'memory each':>14}{'disk':>11}",
        *(_row(stage) for stage in plan.stages),
    ]
    for stage in plan.stages:
        found += ["", *_stage(stage)]
    found.append("")
    total = f"disk in all ≈ {size_words(plan.disk_bytes)}, of it {_download(plan)}"
    found += _wrapped(total)
    if plan.hours is not None:
        money = "" if plan.cost is None else f", cost ≈ {plan.cost:,.2f}"
        text = f"time in all ≈ {_time(plan.hours)}{money}, evaluation and start-up not counted"
        found += _wrapped(text)
    for warning in plan.warnings:
        found += _wrapped(warning, first="! ")
    return found


def count(number: float) -> str:
    """A large number for people: 7.24 B."""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.0f}"


def memory_parts(parts: dict[str, float]) -> str:
    """What holds the memory, largest first, parts below 1 % of it left out."""
    total = sum(parts.values())
    shown = sorted(parts.items(), key=lambda item: -item[1])
    return ", ".join(
        f"{_PARTS[name]} {size_words(size)}" for name, size in shown if size >= 0.01 * total
    )


def _row(stage: StagePlan) -> str:
    time = _time(stage.hours) if stage.hours is not None else "unknown"
    rows = f"{stage.rows:,}" if stage.rows is not None else "unknown"
    steps = f"{stage.steps:,}" if stage.steps is not None else "unknown"
    computed = stage.tokens.computed
    tokens = count(computed) if computed is not None else "unknown"
    fits = "" if stage.fits else "  !"
    return (
        f"{stage.stage:<6}{rows:>10}{steps:>8}{stage.micro_batches:>8}{tokens:>9}{time:>9}"
        f"{size_words(stage.peak_bytes):>14}{size_words(stage.disk_bytes):>11}{fits}"
    )


def _stage(stage: StagePlan) -> Iterator[str]:
    """What one stage does and why, a topic per paragraph."""
    again = _RECOMPUTED.get(stage.checkpointing, "every layer recomputed")
    yield from _wrapped(
        f"trains {count(stage.trained)} weights with {stage.optimizer}{_SHARED[stage.strategy]}, "
        f"{again}, at most "
        f"{stage.micro_batch_tokens:,} tokens in a pass, {stage.micro_batches} "
        f"{'pass' if stage.micro_batches == 1 else 'passes'} per step and device",
        first=f"{stage.stage:<6}",
    )
    word = "" if stage.fits else "does not fit: "
    yield from _wrapped(f"memory: {word}{memory_parts(stage.memory)}; fullest at {stage.moment}")
    yield from _wrapped(f"rows and tokens {stage.data}{_savings(stage)}")
    for reason in stage.reasons[:-1] if stage.fits else stage.reasons:
        yield from _wrapped(reason.removeprefix(f"{stage.stage}: "))


def _savings(stage: StagePlan) -> str:
    """How many tokens of the data are computed, and what padding and prompts would have cost."""
    tokens = stage.tokens
    if tokens.real is None or tokens.computed is None or tokens.padded is None:
        return ""
    text = f"; {count(tokens.real)} tokens in the data, {count(tokens.computed)} computed"
    if tokens.padded > tokens.computed * 1.005:
        ways = "padded and with each prompt twice" if stage.stage == "dpo" else "padded"
        text += f" ({ways} it would be {count(tokens.padded)})"
    return text


def _wrapped(text: str, *, first: str = "      ") -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_on_hyphens=False,
        break_long_words=False,
    )


def _download(plan: Plan) -> str:
    if plan.download_bytes == 0:
        return "nothing to download for the base model"
    return f"the base model's download ≈ {size_words(plan.download_bytes)}"


def _time(hours: float) -> str:
    if hours >= 1:
        return f"{hours:.1f} h"
    return f"{hours * 60:.0f} min" if hours * 60 >= 1 else f"{hours * 3600:.0f} s"
