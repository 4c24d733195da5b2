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
from zephyrctl.evaluation.judges.contract import Judge, JudgeRequest
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
    """One answered turn, counted from 1; `sample` counts repeats from 0."""

    question_id: QuestionId
    turn: int
    text: str
    tokens: int
    stopped: bool
    sample: int = 0


@dataclass(frozen=True)
class Match:
    """What is judged together: one model's answers, or a model's against its opponent's.

    Against an opponent every score is the model's, so that above one half the model is better.
    """

    model: str
    opponent: str | None = None

    @property
    def label(self) -> str:
        """`dpo`, or `dpo against sft`."""
        return self.model if self.opponent is None else f"{self.model} against {self.opponent}"


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
    by_repeat: Mapping[Hashable, Sequence[float]] = field(default_factory=dict)
    """Where questions were answered more than once: `by_question` for each repeat alone."""
    verdicts: Mapping[Hashable, float] = field(default_factory=dict)
    """Where the main metric is fitted, so that a question's part in it is not what the judge said
    of it: that. Wins are counted and categories compared by it."""


@dataclass(frozen=True)
class LeftOut:
    """Why a benchmark of the recipe is not run."""

    reason: str


class Benchmark(Protocol):
    """See the module's first lines."""

    name: str
    """Its word in `eval.benchmarks`, and its folder under `eval/`."""
    judged_by: Judge | None
    """The judge; None where code decides."""
    judge_name: str | None
    """How the judge is called in every score; None where code decides."""
    judge_folder: str
    """The judge's folder under `eval/<benchmark>/<model>/`."""
    digest: str
    """SHA-256 of the questions and of whatever else decides a judgment."""

    repeats: int
    """How often each question is answered and judged."""

    @property
    def questions(self) -> Sequence[Question]:
        """The questions that are asked, in order."""
        ...

    def conversation(self, question: Any, replies: Sequence[str]) -> list[Message]:
        """The prompt of the next turn, after the model's own `replies` to the turns before."""
        ...

    def sampling(self, question: Any, *, sample: int) -> Sampling:
        """How this question is answered in one repeat."""
        ...

    def matches(self, models: Sequence[str], *, baseline: str | None) -> Sequence[Match]:
        """What is judged of `models` (in the order of the recipe), each model alone first."""
        ...

    def requests(
        self, answers: Mapping[str, Sequence[Answer]], match: Match
    ) -> Sequence[JudgeRequest]:
        """What the judge is asked about `answers` (by model); nothing where code decides."""
        ...

    def judge(
        self,
        answers: Mapping[str, Sequence[Answer]],
        match: Match,
        *,
        path: Path,
        on_done: Callable[[int, int], None],
    ) -> list[Judgment]:
        """The judgments of one match, kept in the JSONL file `path` and read back from it where
        they stand there. `on_done(done, total)` tells how far it is."""
        ...

    def aggregate(self, judgments: Sequence[Judgment], match: Match) -> Scores:
        """The scores; no I/O."""
        ...

    def close(self) -> None:
        """Free the judge."""
        ...
