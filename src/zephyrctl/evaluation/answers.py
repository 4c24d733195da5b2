"""Which answers are there already, and which have to be asked for?

Each answered turn is one JSON line, written as it comes and keyed by everything that decides it:
the model, its engine, template and number format, the sampling, and the whole prompt (of a later
turn also the model's own earlier replies). A rerun asks only for keys that are missing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from zephyrctl.data.messages import Message, to_json
from zephyrctl.errors import DataError
from zephyrctl.evaluation.benchmark import Answer, Benchmark, Question, QuestionId
from zephyrctl.evaluation.sharing import ALONE, AnswerFiles, Row, Share
from zephyrctl.generation.answerer import Answerer, Say, Subject
from zephyrctl.generation.sampling import Completion, Sampling
from zephyrctl.runs import heartbeat, signals
from zephyrctl.runs.digests import digest_json
from zephyrctl.runs.signals import raise_if_stopping

_POLL_S = 0.5
_LOOK_S = 1.0
"""How often the first process looks how far the others are, while it answers itself."""
_EXPECTED_ANSWER = 256
"""Tokens of an answer that nobody has seen yet, for sharing the work."""
_SHOWN = 160
"""Characters of the first prompt that are shown at each end."""


def _silent(text: str) -> None:
    del text


class LazyAnswerer:
    """Loads a model at its first question, so that one with all answers is never loaded.

    `say` gets what happens while it answers; with `show` also the first prompt as the model
    reads it.
    """

    def __init__(
        self,
        subject: Subject,
        *,
        on_load: Callable[[], None],
        say: Say = _silent,
        show: bool = True,
    ) -> None:
        self.subject = subject
        self._on_load = on_load
        self._say = say
        self._show = show
        self._answerer: Answerer | None = None

    def answer(
        self,
        prompts: Sequence[Sequence[Message]],
        *,
        sampling: Sampling,
        on_done: Callable[[int, Completion], None],
    ) -> None:
        """See `Answerer`."""
        if self._answerer is None:
            if self._show and self.subject.render is not None:
                self._say(_shown(self.subject.render(prompts[0])))
            self._on_load()
            with signals.at_once(), heartbeat.resting("loading"):
                self._answerer = self.subject.load(self._say)
        self._answerer.answer(prompts, sampling=sampling, on_done=on_done)

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
    """Every answer of the subject to the benchmark, by one process alone; see `ask`, `gather`."""
    ask(benchmark, answerer, path=path, on_progress=on_progress)
    return gather(benchmark, answerer.subject, path=path, on_progress=on_progress)


def ask(
    benchmark: Benchmark,
    answerer: LazyAnswerer,
    *,
    path: Path,
    on_progress: Callable[[int, int], None],
    share: Share = ALONE,
) -> None:
    """Ask for what is missing of this process's share of the conversations.

    `path` is the JSONL file of the answers; `on_progress(done, total)` counts turns, those of the
    other processes among them. Equal prompts are drawn once.
    """
    files = AnswerFiles(path, share)
    board = _Board(benchmark, answerer.subject, files)
    mine = board.of(share)
    tell = _Teller(board, on_progress)
    tell.look()
    while pending := {talk.next.key: talk.next for talk in mine if talk.next is not None}:
        for sampling, items in _by_sampling(list(pending.values())):

            def keep(index: int, completion: Completion, items: list[_Turn] = items) -> None:
                files.add(_row(items[index], completion, identity=answerer.subject.digest))
                tell.one_more()

            answerer.answer([item.messages for item in items], sampling=sampling, on_done=keep)
        tell.look()
        left = [talk.next for talk in mine if talk.next and talk.next.key in pending]
        if left:
            raise DataError(
                f"{len(left)} questions were not answered, the first is {left[0].question_id}",
                where=str(path),
            )


def gather(
    benchmark: Benchmark,
    subject: Subject,
    *,
    path: Path,
    on_progress: Callable[[int, int], None],
    share: Share = ALONE,
    say: Say = _silent,
) -> list[Answer]:
    """Every answer, by repeat, question and turn, once no process has one left to give.

    For the first process, after its own share. The rows of all come into the file `path`; those
    that belong to another state of the model (retrained, other template) are taken out.
    """
    files = AnswerFiles(path, share)
    board = _Board(benchmark, subject, files)
    while board.done < board.total:
        if share.is_whole:
            raise DataError("answers vanished while they were gathered", where=str(path))
        raise_if_stopping()
        on_progress(board.done, board.total)
        time.sleep(_POLL_S)
        board.advance()
    on_progress(board.done, board.total)
    files.join(identity=subject.digest)
    _report_problems(board, name=subject.name, say=say)
    return [
        Answer(
            talk.question.question_id, turn, row["answer"], row["tokens"], row["stopped"],
            talk.sample,
        )
        for talk in board.talks
        for turn, row in enumerate(talk.replies, start=1)
    ]  # fmt: skip


@dataclass(frozen=True)
class _Turn:
    """One turn of one question as it has to be asked."""

    question_id: QuestionId
    turn: int
    sample: int
    messages: list[Message]
    sampling: Sampling
    key: str


@dataclass
class _Talk:
    """One repeat of one question: the turns that are answered, and the one to be asked next."""

    question: Question
    sample: int
    replies: list[Row] = field(default_factory=list)
    next: _Turn | None = None


class _Board:
    """Where every conversation of a benchmark with one model stands."""

    def __init__(self, benchmark: Benchmark, subject: Subject, files: AnswerFiles) -> None:
        self._benchmark = benchmark
        self._subject = subject
        self._files = files
        self.talks = [
            _Talk(question, sample)
            for sample in range(benchmark.repeats)
            for question in benchmark.questions
        ]
        self.total = sum(len(talk.question.turns) for talk in self.talks)
        self._first_keys: list[str] = []
        for talk in self.talks:
            talk.next = self._turn_of(talk)
            self._first_keys.append(talk.next.key if talk.next else "")
        self.advance()

    @property
    def done(self) -> int:
        """Answered turns."""
        return sum(len(talk.replies) for talk in self.talks)

    def advance(self) -> None:
        """Take up what the files have got since the last time."""
        self._files.refresh()
        for talk in self.talks:
            while talk.next is not None and talk.next.key in self._files.rows:
                talk.replies.append(self._files.rows[talk.next.key])
                talk.next = self._turn_of(talk)

    def of(self, share: Share) -> list[_Talk]:
        """The conversations of one process; those that begin equally stay together, so that
        nothing is drawn by two processes."""
        costs: dict[str, float] = {}
        for key, talk in zip(self._first_keys, self.talks, strict=True):
            turns = talk.question.turns
            costs[key] = sum(_EXPECTED_ANSWER + len(turn) / 4 for turn in turns)
        mine = share.of(costs)
        return [talk for key, talk in zip(self._first_keys, self.talks, strict=True) if key in mine]

    def _turn_of(self, talk: _Talk) -> _Turn | None:
        if len(talk.replies) == len(talk.question.turns):
            return None
        said = [row["answer"] for row in talk.replies]
        messages = self._benchmark.conversation(talk.question, said)
        sampling = self._benchmark.sampling(talk.question, sample=talk.sample)
        key = digest_json(
            {
                "identity": self._subject.identity,
                "sampling": sampling.to_json(),
                "messages": to_json(messages),
            }
        )
        question_id = talk.question.question_id
        return _Turn(question_id, len(said) + 1, talk.sample, messages, sampling, key)


class _Teller:
    """Tells how far all processes are; looks at the others' files now and then."""

    def __init__(self, board: _Board, on_progress: Callable[[int, int], None]) -> None:
        self._board = board
        self._on_progress = on_progress
        self._looked = 0.0
        self._done = 0

    def one_more(self) -> None:
        """A turn was answered here."""
        self._done = min(self._done + 1, self._board.total)
        if time.monotonic() - self._looked >= _LOOK_S:
            self.look()
        else:
            self._on_progress(self._done, self._board.total)

    def look(self) -> None:
        """Take up what all processes have answered."""
        self._board.advance()
        self._looked, self._done = time.monotonic(), self._board.done
        self._on_progress(self._done, self._board.total)


def _by_sampling(turns: Sequence[_Turn]) -> Iterator[tuple[Sampling, list[_Turn]]]:
    """Turns with the same sampling go together."""
    groups: dict[Sampling, list[_Turn]] = {}
    for turn in turns:
        groups.setdefault(turn.sampling, []).append(turn)
    yield from groups.items()


def _row(item: _Turn, completion: Completion, *, identity: str) -> Row:
    return {
        "key": item.key,
        "identity": identity,
        "question_id": item.question_id,
        "turn": item.turn,
        "sample": item.sample,
        "answer": completion.text,
        "tokens": completion.tokens,
        "prompt_tokens": completion.prompt_tokens,
        "stopped": completion.stopped,
        "seconds": round(completion.seconds, 3),
        "problem": completion.problem,
    }


def _report_problems(board: _Board, *, name: str, say: Say) -> None:
    """Say how many answers are empty because the model could not be asked."""
    found = [
        (talk.question.question_id, turn, row["problem"])
        for talk in board.talks
        for turn, row in enumerate(talk.replies, start=1)
        if row.get("problem")
    ]
    if found:
        question, turn, problem = found[0]
        say(
            f"{len(found)} of {board.total} answers of {name} are empty; the first is question "
            f"{question}, turn {turn}: {problem}"
        )


def _shown(prompt: str) -> str:
    """The first prompt on one line, its middle left out where it is long."""
    if len(prompt) > 2 * _SHOWN:
        prompt = f"{prompt[:_SHOWN]} … {prompt[-_SHOWN:]}"
    return f"the first prompt as the model reads it: {json.dumps(prompt, ensure_ascii=False)}"
