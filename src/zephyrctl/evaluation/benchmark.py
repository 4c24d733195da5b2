"""What must a benchmark provide, so that the evaluation stage can run it?

A benchmark is data and pure functions: its questions, the conversation of each turn, how answers
are sampled, how they are judged, and what the judgments add up to. `stages/evaluate.py` does the
rest: which model is loaded when, what is asked again after a restart, where files go, and how
models compare. A new one is a module with a factory (`Recipe -> Benchmark | LeftOut`) and a line
in `catalogue.BENCHMARKS`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from zephyrctl.data.messages import Message
from zephyrctl.evaluation.statistics import Interval
from zephyrctl.generation.sampling import Sampling

QuestionId = int | str
Judgment = dict[str, Any]
"""A stored record; it has at least `question_id` and `turn`."""


class Question(Protocol):
    """What every question has; a benchmark's own may have more."""

    @property
    def question_id(self) -> QuestionId: ...
    @property
    def category(self) -> str: ...
    @property
    def turns(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class Answer:
    """One answered turn, counted from 1."""

    question_id: QuestionId
    turn: int
    text: str
    tokens: int
    stopped: bool


@dataclass(frozen=True)
class Score:
    """One number of one model. `judge` is None where code decided; `n` counts values."""

    benchmark: str
    model: str
    judge: str | None
    metric: str
    value: float
    low: float
    high: float
    n: int

    @classmethod
    def of(
        cls, interval: Interval, *, benchmark: str, model: str, judge: str | None, metric: str
    ) -> Score:
        """The score that an interval says."""
        bounds = (interval.value, interval.low, interval.high, interval.n)
        return cls(benchmark, model, judge, metric, *bounds)

    def to_json(self) -> dict[str, Any]:
        """The entry of `scores.json`."""
        return asdict(self)


@dataclass(frozen=True)
class Scores:
    """What one model got on one benchmark.

    `scores` begins with the benchmark's main metric; `by_question` holds that metric's value per
    question (the mean over turns), which is what models are compared by. `details` goes into
    `scores.json` as it is. `gate` is the value that `eval.fail_under` is held against, None where
    too few verdicts stand.
    """

    scores: tuple[Score, ...]
    by_question: Mapping[Hashable, float]
    gate: float | None
    details: Mapping[str, Any] = field(default_factory=dict)
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class LeftOut:
    """Why a benchmark of the recipe is not run."""

    reason: str


class Benchmark(Protocol):
    """See the module's first lines."""

    name: str
    """Its word in `eval.benchmarks`, and its folder under `eval/`."""
    judge_name: str | None
    """The judge in every score; None where code decides."""
    judge_folder: str
    """The judge's folder under `eval/<benchmark>/<model>/`."""
    digest: str
    """SHA-256 of the questions and of whatever else decides a judgment."""

    @property
    def questions(self) -> Sequence[Question]:
        """The questions that are asked, in order."""
        ...

    def conversation(self, question: Any, replies: Sequence[str]) -> list[Message]:
        """The prompt of the next turn, after the model's own `replies` to the turns before."""
        ...

    def sampling(self, question: Any) -> Sampling:
        """How this question is answered."""
        ...

    def judge(
        self,
        answers: Sequence[Answer],
        *,
        model: str,
        path: Path,
        on_done: Callable[[int, int], None],
    ) -> list[Judgment]:
        """One judgment per answer, kept in the JSONL file `path` and read back from it where it
        stands there. `on_done(done, total)` tells how far it is."""
        ...

    def aggregate(self, judgments: Sequence[Judgment], *, model: str) -> Scores:
        """The scores; no I/O."""
        ...

    def close(self) -> None:
        """Free the judge."""
        ...
