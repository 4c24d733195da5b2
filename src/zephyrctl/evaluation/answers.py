"""Which answers are there already, and which have to be asked for?

Each answered turn is one JSON line, written as it comes and keyed by everything that decides it:
the model, its template and number format, the sampling, and the whole prompt (of a later turn also
the model's own earlier replies). A rerun asks only for keys that are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zephyrctl.data.messages import Message, to_json
from zephyrctl.errors import DataError
from zephyrctl.evaluation.benchmark import Answer, Benchmark, Question, QuestionId
from zephyrctl.generation.answerer import Answerer, Subject
from zephyrctl.generation.sampling import Completion, Sampling
from zephyrctl.runs.atomic import append_jsonl, dumps, read_jsonl, write_text
from zephyrctl.runs.digests import digest_json

_Replies = dict[tuple[QuestionId, int], list[dict[str, Any]]]
"""Answered turns by question and repeat."""


@dataclass(frozen=True)
class _Wanted:
    """One turn of one question as it has to be asked."""

    question_id: QuestionId
    turn: int
    sample: int
    messages: list[Message]
    sampling: Sampling
    key: str


class LazyAnswerer:
    """Loads a model at its first question, so that one with all answers is never loaded."""

    def __init__(self, subject: Subject, *, on_load: Callable[[], None]) -> None:
        self.subject = subject
        self._on_load = on_load
        self._answerer: Answerer | None = None

    def get(self) -> Answerer:
        """The loaded model."""
        if self._answerer is None:
            self._on_load()
            self._answerer = self.subject.load()
        return self._answerer

    def close(self) -> None:
        """Free it, where it was loaded."""
        if self._answerer is not None:
            self._answerer.close()
            self._answerer = None


def collect(
    benchmark: Benchmark,
    answerer: LazyAnswerer,
    *,
    path: Path,
    on_progress: Callable[[int, int], None],
) -> list[Answer]:
    """Every answer of the subject to the benchmark, by repeat, question and turn.

    A greedy answer is drawn once for all repeats.

    `path` is the JSONL file of the answers; `on_progress(done, total)` counts turns. Rows that
    belong to another state of the model (retrained, other template) are taken out at the end.
    """
    subject = answerer.subject
    rows = {row["key"]: row for row in read_jsonl(path)}
    samples = range(benchmark.repeats)
    replies: _Replies = {
        (question.question_id, sample): [] for question in benchmark.questions for sample in samples
    }
    total = sum(len(question.turns) for question in benchmark.questions) * len(samples)
    turns = max((len(question.turns) for question in benchmark.questions), default=0)
    done = 0
    for turn in range(turns):
        asked = [question for question in benchmark.questions if len(question.turns) > turn]
        wanted = [
            _wanted(benchmark, question, subject, replies, sample=sample)
            for question in asked
            for sample in samples
        ]
        _ask_missing(
            wanted, answerer, rows, path=path, tell=lambda n, d=done: on_progress(d + n, total)
        )
        for item in wanted:
            replies[(item.question_id, item.sample)].append(rows[item.key])
        done += len(wanted)
        on_progress(done, total)
    _drop_stale(path, identity=subject.digest)
    return [
        Answer(question.question_id, turn, row["answer"], row["tokens"], row["stopped"], sample)
        for sample in samples
        for question in benchmark.questions
        for turn, row in enumerate(replies[(question.question_id, sample)], start=1)
    ]


def _wanted(
    benchmark: Benchmark,
    question: Question,
    subject: Subject,
    replies: _Replies,
    *,
    sample: int,
) -> _Wanted:
    said = [row["answer"] for row in replies[(question.question_id, sample)]]
    messages = benchmark.conversation(question, said)
    sampling = benchmark.sampling(question, sample=sample)
    key = digest_json(
        {
            "identity": subject.identity,
            "sampling": sampling.to_json(),
            "messages": to_json(messages),
        }
    )
    return _Wanted(question.question_id, len(said) + 1, sample, messages, sampling, key)


def _ask_missing(
    wanted: Sequence[_Wanted],
    answerer: LazyAnswerer,
    rows: dict[str, dict[str, Any]],
    *,
    path: Path,
    tell: Callable[[int], None],
) -> None:
    """Ask for what `rows` lacks and add it there and to the file; questions with the same
    sampling go together."""
    missing = {item.key: item for item in wanted if item.key not in rows}
    found = len(wanted) - len(missing)
    tell(found)
    groups: dict[Sampling, list[_Wanted]] = {}
    for item in missing.values():
        groups.setdefault(item.sampling, []).append(item)
    for sampling, items in groups.items():

        def keep(index: int, completion: Completion, items: list[_Wanted] = items) -> None:
            nonlocal found
            row = _row(items[index], completion, identity=answerer.subject.digest)
            append_jsonl(path, row)
            rows[row["key"]] = row
            found += 1
            tell(found)

        answerer.get().answer([item.messages for item in items], sampling=sampling, on_done=keep)
    left = [item for item in wanted if item.key not in rows]
    if left:
        raise DataError(
            f"{len(left)} questions were not answered, the first is {left[0].question_id}",
            where=str(path),
        )


def _row(item: _Wanted, completion: Completion, *, identity: str) -> dict[str, Any]:
    return {
        "key": item.key,
        "identity": identity,
        "question_id": item.question_id,
        "turn": item.turn,
        "answer": completion.text,
        "tokens": completion.tokens,
        "prompt_tokens": completion.prompt_tokens,
        "stopped": completion.stopped,
        "seconds": round(completion.seconds, 3),
    }


def _drop_stale(path: Path, *, identity: str) -> None:
    rows = read_jsonl(path)
    kept = [row for row in rows if row["identity"] == identity]
    if len(kept) < len(rows):
        write_text(path, "".join(f"{dumps(row)}\n" for row in kept))
