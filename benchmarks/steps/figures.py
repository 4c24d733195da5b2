"""What do the records of a race say: speeds, ratios, and whether all computed the same?"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

from zephyrctl.planning import flops
from zephyrctl.planning.architecture import Architecture

Record = dict[str, Any]
Clock = Literal["wall", "cpu"]
MEBIBYTE = 2**20
DATA_SHEET_FLOPS = 989e12
"""Dense bfloat16 of an H100 SXM or H200 (data sheet), the usual denominator."""


@dataclass(frozen=True)
class Tolerances:
    """Largest differences that still count as the same computation."""

    loss: float
    """Absolute, of each step's loss."""
    log_probs: float
    """Relative, of the summed log-probs of the first step."""
    gradient: float
    """Relative, of the gradient norm of the first step."""


TOLERANCES = {
    # Sums of hundreds of float32 log-probs, added in another order. Losses are logged to 4 digits.
    "cpu": Tolerances(loss=2e-3, log_probs=1e-5, gradient=1e-3),
    "cuda": Tolerances(loss=3e-2, log_probs=5e-3, gradient=5e-2),
}
PLANNED = ("optimizer", "checkpointing", "micro_batch_tokens")
LOG_PROBS = ("logps/chosen", "logps/rejected")


def speed(record: Record, *, warmup: int, clock: Clock) -> float:
    """Examples per second over the timed steps, one pass over the reference included.

    A contender that computes its reference's log-probs before the first step would otherwise have
    them for nothing.
    """
    examples = _examples(record, warmup)
    return examples / seconds(record, warmup=warmup, clock=clock)


def seconds(record: Record, *, warmup: int, clock: Clock) -> float:
    """Time of the timed steps, with their share of a reference that was computed before."""
    examples = _examples(record, warmup)
    return sum(record[clock][warmup:]) + examples * _reference(record, clock)


def _reference(record: Record, clock: Clock) -> float:
    """Seconds per pair of a reference computed before training; 0 where it is part of the steps."""
    pairs = record["reference_pairs"]
    every = sum(step["examples"] for step in record["steps"])
    # Fewer are a check of the start, not the reference of every pair.
    return record[f"reference_{clock}"] / pairs if pairs >= every else 0.0


def _examples(record: Record, warmup: int) -> int:
    return sum(step["examples"] for step in record["steps"][warmup:])


def contender(
    records: Sequence[Record], *, warmup: int, unit: str, model: Architecture, adapter: bool
) -> dict[str, Any]:
    """The figures of one contender over all rounds; only `error` where none ended well."""
    well = [record for record in records if "error" not in record]
    if not well:
        return {"error": records[-1]["error"] if records else "not run"}
    first = well[0]
    tokens = sum(step["tokens"] for step in first["steps"][warmup:])
    examples = _examples(first, warmup)
    speeds = [speed(record, warmup=warmup, clock="wall") for record in well]
    by_cpu = [speed(record, warmup=warmup, clock="cpu") for record in well]
    per_example = tokens / examples
    steps = [second for record in well for second in record["wall"][warmup:]]
    figures: dict[str, Any] = {
        f"{unit}_per_s": median(speeds),
        f"{unit}_per_s_range": [min(speeds), max(speeds)],
        f"{unit}_per_cpu_s": median(by_cpu),
        "tokens_per_s": median(speeds) * per_example,
        "tokens_per_cpu_s": median(by_cpu) * per_example,
        "step_s": {"median": median(steps), "least": min(steps), "most": max(steps)},
        "first_step_s": median(record["wall"][0] for record in well),
        "reference_s_per_pair": median(_reference(record, "wall") for record in well),
        "real_tokens": tokens,
        "padded_slots": sum(first["slots"][warmup:]),
        "peak_rss_mb": round(max(r["peak_rss_bytes"] for r in well) / MEBIBYTE),
        "step1_loss": first["logs"][0]["loss"],
        "step1_gradient_norm": first["logs"][0]["grad_norm"],
        "last_loss": first["logs"][-1]["loss"],
        "matmul_gflops": [round(record["matmul_flops"] / 1e9, 1) for record in well],
        "whole_s": median(record["whole_s"] for record in well),
        **_work(well, warmup=warmup, unit=unit, model=model, adapter=adapter),
    }
    if first["peak_device_bytes"]:
        most = max(record["peak_device_bytes"] for record in well)
        figures["peak_device_mb"] = round(most / MEBIBYTE)
        figures["gpu_log"] = first["gpu_log"]
    if "forecast" in first:
        expected = first["forecast"]
        figures |= {
            "predicted_peak_mb": round(expected["predicted_peak_bytes"] / MEBIBYTE),
            "plan": {name: expected[name] for name in PLANNED},
            "notices": first["notices"],
        }
    return figures


def _work(
    records: Sequence[Record], *, warmup: int, unit: str, model: Architecture, adapter: bool
) -> dict[str, float]:
    """TFLOP/s by the planner's formulas, without recomputation, in two ways.

    `model_tflops` counts the real tokens, each prompt of a pair twice: the same work for every
    contender. `slot_tflops` counts what went through the layers, padding included.
    """
    first = records[0]
    steps = first["steps"][warmup:]
    tokens = sum(step["tokens"] for step in steps)
    context = sum(step["context"] for step in steps) / tokens
    size = model.adapter(16) if adapter else 0
    work = flops.Work("adapter" if adapter else "weights", False, adapter_parameters=size)
    per_token = flops.training(model, work, context=context)
    if unit == "pairs":  # the reference sees every token once
        per_token += flops.forward(model, context=context)
    time = median(seconds(record, warmup=warmup, clock="wall") for record in records)
    useful = per_token * tokens / time
    rate = median(record["matmul_flops"] for record in records)
    figures = {
        "model_tflops": useful / 1e12,
        "slot_tflops": per_token * sum(first["slots"][warmup:]) / time / 1e12,
        "of_matmul_rate": useful / rate,
    }
    return figures | ({"of_989": useful / DATA_SHEET_FLOPS} if first["peak_device_bytes"] else {})


def ratios(
    ours: Sequence[Record], theirs: Sequence[Record], *, warmup: int
) -> dict[str, float] | None:
    """How many times faster ours is, round by round; None where no round has both."""
    rounds = [
        pair for pair in zip(ours, theirs, strict=False) if not any("error" in r for r in pair)
    ]
    if not rounds:
        return None
    found: dict[Clock, list[float]] = {
        clock: [
            speed(a, warmup=warmup, clock=clock) / speed(b, warmup=warmup, clock=clock)
            for a, b in rounds
        ]
        for clock in ("wall", "cpu")
    }
    wall = found["wall"]
    return {
        "median": median(wall),
        "least": min(wall),
        "most": max(wall),
        "by_cpu_time": median(found["cpu"]),
    }


def parity(first: Record, other: Record, *, device: str) -> dict[str, Any]:
    """Whether two contenders computed the same: the first step's loss, log-probs and gradient norm,
    and the loss of every step."""
    limits = TOLERANCES[device]
    start, second = first["logs"][0], other["logs"][0]
    curve = [abs(a["loss"] - b["loss"]) for a, b in zip(first["logs"], other["logs"], strict=True)]
    found = {
        "step1_loss": abs(start["loss"] - second["loss"]),
        "step1_log_probs": max(
            (_relative(start[name], second[name]) for name in LOG_PROBS if name in start),
            default=0.0,
        ),
        "step1_gradient_norm": _relative(start["grad_norm"], second["grad_norm"]),
        "loss_of_any_step": max(curve),
    }
    same = (
        found["step1_loss"] <= limits.loss
        and found["loss_of_any_step"] <= limits.loss
        and found["step1_log_probs"] <= limits.log_probs
        and found["step1_gradient_norm"] <= limits.gradient
    )
    return {**found, "same": same}


def _relative(value: float, other: float) -> float:
    return abs(value - other) / max(abs(value), abs(other), 1e-12)
