"""How were a stage's forward passes made smaller after its memory ran out?

A step keeps its examples: where a pass is halved, a step has twice as many. The worker leaves a
note of the pass that did not fit (`out-of-memory.json`); who starts it again halves the passes by
it (`adjustments.json`), and every later start of this stage takes them so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zephyrctl.config.schema.training import Training
from zephyrctl.runs.atomic import write_json

if TYPE_CHECKING:
    from zephyrctl.runs.store import StageDir

FILE = "adjustments.json"
SHORTAGE = "out-of-memory.json"
FEWEST_TOKENS = 8
"""The smallest `micro_batch_tokens` that the configuration allows."""


@dataclass(frozen=True)
class Shortage:
    """The forward pass for which the memory was too small."""

    doing: str
    """`step 7`, `the held-out evaluation`: when it was."""
    examples: int
    tokens: int
    """Of the pass, padding included."""
    limit: int | None
    """Most tokens of a pass as they were settled for this machine; None where passes are made by
    number of examples."""


@dataclass(frozen=True)
class Adjustments:
    """Limits of a forward pass in the place of the recipe's; None leaves them to it."""

    micro_batch_tokens: int | None = None
    micro_batch_size: int | None = None
    because: tuple[str, ...] = ()
    """One sentence for each halving, the latest last."""

    def applied(self, training: Training) -> Training:
        """The settings of a stage with these limits; a smaller one of the recipe stays."""
        limits: dict[str, int] = {}
        for name in ("micro_batch_tokens", "micro_batch_size"):
            own: int | None = getattr(self, name)
            wanted = getattr(training, name)
            # A limit by tokens says nothing of a recipe that now counts examples, and the reverse.
            counts = name == "micro_batch_tokens" or training.micro_batch_size != "auto"
            if own is not None and counts:
                limits[name] = own if wanted == "auto" else min(own, wanted)
        return training.model_copy(update=limits)


def read(stage: StageDir) -> Adjustments:
    """What was adjusted so far; nothing where the file is missing or is none."""
    record = _read(stage.path / FILE)
    sizes = {
        name: value
        for name in ("micro_batch_tokens", "micro_batch_size")
        if isinstance(value := record.get(name), int) and value > 0
    }
    because = record.get("because")
    return Adjustments(**sizes, because=tuple(map(str, because)) if because else ())


def note(stage: StageDir, shortage: Shortage) -> None:
    """Leave word of the pass that did not fit, for `halve`."""
    write_json(stage.path / SHORTAGE, asdict(shortage))


def halve(stage: StageDir, training: Training) -> str | None:
    """Halve the passes of a stage whose memory ran out; what was done in words.

    None where nothing is left to halve: the pass was of one example, or it is not known that
    memory ran out. The note of the worker is used up.
    """
    record = _read(stage.path / SHORTAGE)
    (stage.path / SHORTAGE).unlink(missing_ok=True)
    if not record:
        return None
    shortage = Shortage(**record)
    before = read(stage)
    settled = before.applied(training)
    halved = _halved(shortage, settled)
    if halved is None:
        return None
    name, old, new = halved
    text = (
        f"memory ran out at {shortage.doing} in a pass of {shortage.examples} examples, "
        f"{shortage.tokens} tokens: {name} {old} → {new}; a step still takes the same "
        f"{training.global_batch_size} examples, in more passes"
    )
    sizes = {
        "micro_batch_tokens": before.micro_batch_tokens,
        "micro_batch_size": before.micro_batch_size,
        name: new,
    }
    kept = {key: value for key, value in sizes.items() if value is not None}
    write_json(stage.path / FILE, {**kept, "because": [*before.because, text]})
    return text


def forget(stage: StageDir) -> None:
    """Take the recipe's limits again, for a stage that starts afresh."""
    for name in (FILE, SHORTAGE):
        (stage.path / name).unlink(missing_ok=True)


def _halved(shortage: Shortage, settled: Training) -> tuple[str, int, int] | None:
    """Which limit, its value and the half of it; None where no smaller pass is possible."""
    if shortage.examples <= 1:
        return None
    if settled.micro_batch_size != "auto":
        size = settled.micro_batch_size
        # A divisor of the old size divides the share of a process too.
        smaller = [n for n in range(1, size // 2 + 1) if size % n == 0]
        return ("micro_batch_size", size, max(smaller)) if smaller else None
    limits = (shortage.limit, settled.micro_batch_tokens)
    old = min((limit for limit in limits if isinstance(limit, int)), default=shortage.tokens)
    # Half of the pass, where it was below the limit: half of the limit might split nothing.
    new = max(FEWEST_TOKENS, min(old, shortage.tokens) // 2)
    return ("micro_batch_tokens", old, new) if new < old else None


def _read(path: Path) -> Mapping[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
