"""What does a training stage have of its own, and what is it told?"""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

from datasets import Dataset

from zephyrctl.config.schema.training import Training
from zephyrctl.runs.metrics import Reporter
from zephyrctl.runs.store import Run, StageDir
from zephyrctl.training import order, publish
from zephyrctl.training.callbacks import Watch
from zephyrctl.training.layout import Layout
from zephyrctl.training.loading import Policy
from zephyrctl.training.strategies import Strategy
from zephyrctl.training.trl_arguments import Job

Losses = publish.Losses


@dataclass(frozen=True)
class Splits:
    """Prepared rows, and the tokens of each, `(N,)`."""

    train: Dataset
    test: Dataset
    test_lengths: list[int]
    lengths: list[int]


@dataclass(frozen=True)
class Plan:
    """Everything a trainer is built from."""

    run: Run
    folder: StageDir
    reporter: Reporter
    job: Job
    policy: Policy
    tokenizer: Any
    splits: Splits
    order: order.Order
    layout: Layout
    watch: Watch
    strategy: Strategy


class Method(Protocol):
    """What a stage has of its own."""

    @property
    def stage(self) -> Literal["sft", "dpo"]: ...
    @property
    def training(self) -> Training: ...
    @property
    def metric_names(self) -> tuple[str, ...]:
        """Final metrics that `expected` may name."""
        ...

    def load(self, run: Run) -> Splits: ...
    def costs(self, splits: Splits, layout: Layout) -> tuple[list[int], list[int]]:
        """Tokens that each training and each held-out row costs in a forward pass, `(N,)` each."""
        ...

    def trainer(self, plan: Plan) -> Any: ...
    def before(self, trainer: Any, plan: Plan) -> None:
        """Check what must hold before the first step."""
        ...

    def result(self, plan: Plan) -> dict[str, float]:
        """Held-out metrics for the manifest."""
        ...

    def losses_in_memory(self, held_out: Any, splits: Splits, rows: list[int]) -> Losses: ...
    def losses_of(self, model: Any, held_out: Any, splits: Splits, rows: list[int]) -> Losses: ...
