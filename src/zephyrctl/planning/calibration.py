"""What was measured on GPUs that the formulas cannot know?

The formulas follow from the architecture. A kernel that keeps more than torch's own, an allocator
that fragments, and the share of its peak that a GPU reaches have to be measured. The table is
committed with what benchmarks measured; where it has no entry, nothing is corrected. A CPU is never
in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from zephyrctl.errors import DataError
from zephyrctl.planning.memory import Peak

TABLE = Path(__file__).with_name("calibration.json")


@dataclass(frozen=True)
class Entry:
    """One measured mode of training on one kind of GPU."""

    gpu: str
    """A name of `--gpu`, such as `h100-80g`."""
    torch: str
    """Major and minor version, such as `2.13`."""
    mode: str
    """What `mode_of` says, such as `dpo lora bf16`."""
    mfu: float | None = None
    """Share of the data sheet's rate that was reached, over all FLOPs that are executed."""
    activations: float = 1.0
    """Measured bytes of activations, head and work over those of the formulas."""
    source: str = ""
    """The file of results, and the command that made it."""


def mode_of(*, stage: str, adapter: str, four_bit: bool, compiled: bool) -> str:
    """Name of a mode: what decides speed and memory beside model, GPU and torch."""
    form = "full" if adapter == "none" else adapter
    if four_bit:
        form = f"q{form}"
    return f"{stage} {form}{' compiled' if compiled else ''}"


def read(path: Path = TABLE) -> list[Entry]:
    """All entries; DataError where one is not of the expected form."""
    content = json.loads(path.read_text(encoding="utf-8"))
    try:
        return [Entry(**entry) for entry in content["entries"]]
    except (KeyError, TypeError) as error:
        raise DataError(f"the calibration table is of no use: {error}", where=str(path)) from error


def find(entries: Sequence[Entry], *, gpu: str, torch: str | None, mode: str) -> Entry | None:
    """The entry for this GPU, torch version and mode; None where nothing like it was measured."""
    version = ".".join((torch or "").split(".")[:2])
    for entry in entries:
        if (entry.gpu, entry.torch, entry.mode) == (gpu, version, mode):
            return entry
    return None


def corrected(peak: Peak, entry: Entry | None) -> Peak:
    """The peak with what passes through a step scaled as it was measured; states are exact."""
    if entry is None:
        return peak
    factor = entry.activations
    return replace(
        peak,
        activations=peak.activations * factor,
        head=peak.head * factor,
        working=peak.working * factor,
    )


def measured(result: Mapping[str, Any], *, source: str) -> Entry:
    """The entry that a benchmark's JSON object makes.

    It needs `gpu`, `torch`, `mode`, `mfu`, `peak_memory_bytes` and `predicted`, the memory by
    parts as `zephyrctl plan --json` has it. What is over the states is activations.
    """
    try:
        parts: Mapping[str, float] = result["predicted"]
        passing = sum(parts[name] for name in ("activations", "head", "working"))
        states = sum(
            parts[name]
            for name in ("weights", "reference", "gradients", "optimizer", "compute_copies")
        )
        factor = (float(result["peak_memory_bytes"]) - states) / passing
        version = ".".join(str(result["torch"]).split("+")[0].split(".")[:2])
        return Entry(
            gpu=str(result["gpu"]),
            torch=version,
            mode=str(result["mode"]),
            mfu=round(float(result["mfu"]), 4) if result.get("mfu") is not None else None,
            activations=round(factor, 4),
            source=source,
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise DataError(
            f"the benchmark's result lacks what a calibration needs: {error!r}", where=source
        ) from error


def merged(entries: Sequence[Entry], new: Entry) -> list[Entry]:
    """The table with `new` in the place of what was measured before for the same key."""
    key = (new.gpu, new.torch, new.mode)
    others = [entry for entry in entries if (entry.gpu, entry.torch, entry.mode) != key]
    return sorted([*others, new], key=lambda entry: (entry.gpu, entry.torch, entry.mode))


def write(entries: Sequence[Entry], path: Path = TABLE) -> None:
    """Write the table as it is committed."""
    content = {"entries": [asdict(entry) for entry in entries]}
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
