"""What does a training run know about itself that must outlive a kill?

Sums over the whole run, and the window since the last record. Both are saved into each checkpoint,
so that the records after a resume are those of an uninterrupted run.
"""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from zephyrctl.runs.atomic import write_json

FILE = "progress.json"
SAMPLES, EVALUATION = "samples", "evaluation"


@dataclass
class Progress:
    """Running totals of one stage, over all its attempts."""

    loss_sum: float = 0.0
    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0
    """Time in optimizer steps, without evaluation, samples and checkpoints."""
    peak_memory_bytes: int = 0
    window: list[dict[str, float]] = field(default_factory=list)
    """Values of each step since the last record."""
    first_evaluation: dict[str, float] = field(default_factory=dict)
    last_evaluation: dict[str, float] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    """Mean training loss of each record."""
    grad_norms: list[float] = field(default_factory=list)
    highest_rate: float = 0.0
    last_rate: float = 0.0
    checks: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The latest outcome of each canary, by its name."""
    owed: list[str] = field(default_factory=list)
    """What a stop broke off at this step, SAMPLES or EVALUATION: the next attempt begins with it.
    """
    recent_losses: list[float] = field(default_factory=list)
    """Of the last steps, for `spikes`."""
    spikes: int = 0
    """Steps whose loss stood out of those before."""
    changed: list[str] = field(default_factory=list)
    """Inputs that were allowed to change since the training began."""

    def owe(self, what: str) -> None:
        """Note what was broken off."""
        if what not in self.owed:
            self.owed.append(what)

    def pay(self, what: str) -> None:
        """It is made up for."""
        if what in self.owed:
            self.owed.remove(what)

    def add_step(self, values: dict[str, float]) -> None:
        """Count one optimizer step with TRL's values."""
        self.loss_sum += values["loss"]
        self.last_rate = values["learning_rate"]
        self.highest_rate = max(self.highest_rate, self.last_rate)
        self.steps += 1
        self.window.append(values)

    def drain_window(self) -> dict[str, float]:
        """Means over the steps since the last record; `learning_rate` is the newest."""
        names = {name for values in self.window for name in values}
        means = {
            name: sum(found) / len(found)
            for name in sorted(names)
            if (found := [values[name] for values in self.window if name in values])
        }
        means["learning_rate"] = self.window[-1]["learning_rate"]
        self.window = []
        return means

    @property
    def mean_loss(self) -> float:
        """Mean training loss over every step of the run (transformers' `train_loss` covers only
        what came after the last resume)."""
        return self.loss_sum / max(self.steps, 1)

    def save(self, folder: Path) -> None:
        """Write into a checkpoint folder."""
        write_json(folder / FILE, asdict(self))


def load(folder: Path) -> Progress:
    """What `save` wrote; what another version of this program kept besides is left out."""
    record = json.loads((folder / FILE).read_text(encoding="utf-8"))
    known = {entry.name for entry in fields(Progress)}
    return Progress(**{name: value for name, value in record.items() if name in known})
