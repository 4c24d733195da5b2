"""How good are the answers to MT-Bench's 80 two-turn questions? (the benchmark `mt-bench`)

The protocol is in `protocol.py`; here it meets the stage: answers in, judgments kept as
JSON lines keyed by everything that decides them, scores with intervals out.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from zephyrctl.config.schema import Recipe
from zephyrctl.data.messages import Message
from zephyrctl.errors import DataError
from zephyrctl.evaluation.benchmark import (
    Answer,
    Judgment,
    LeftOut,
    Match,
    QuestionId,
    Score,
    Scores,
)
from zephyrctl.evaluation.judges.contract import Judge, JudgeReply, JudgeRequest
from zephyrctl.evaluation.judges.open import judge_folder, open_judge
from zephyrctl.evaluation.judging import judged
from zephyrctl.evaluation.mt_bench import protocol
from zephyrctl.evaluation.mt_bench.formats import MtBenchFiles, Question, read_mt_bench
from zephyrctl.evaluation.statistics import Interval, bootstrap_mean
from zephyrctl.evaluation.verdicts import in_range
from zephyrctl.generation.sampling import Sampling
from zephyrctl.runs.digests import digest_json

_ALL_QUESTIONS = 80


class MtBench:
    """The benchmark; see `evaluation.benchmark`."""

    name = "mt-bench"

    def __init__(self, files: MtBenchFiles, judge: Judge, *, recipe: Recipe) -> None:
        settings = recipe.eval.mt_bench
        self.questions: tuple[Question, ...] = files.questions[: settings.limit]
        self.judge_name = judge.name
        self.judge_folder = judge_folder(judge.name)
        self.digest = digest_json([files.digest, len(self.questions), dict(judge.identity)])
        self.repeats = recipe.eval.repeats
        self._files = files
        self._judge = judge
        self._settings = settings
        self._replicates = recipe.eval.bootstrap
        self._seed = recipe.seed
        self._by_id = {question.question_id: question for question in self.questions}

    def conversation(self, question: Question, replies: Sequence[str]) -> list[Message]:
        """The turns so far with the model's own replies, and the next turn; no system prompt."""
        messages = []
        for turn, reply in zip(question.turns, replies, strict=False):
            messages += [Message("user", turn), Message("assistant", reply)]
        return [*messages, Message("user", question.turns[len(replies)])]

    def sampling(self, question: Question, *, sample: int) -> Sampling:
        """The category's temperature, and nothing of the model's own settings."""
        return Sampling(
            temperature=protocol.temperature(question.category),
            max_new_tokens=self._settings.max_new_tokens,
            seed=self._seed + sample,
        )

    def matches(self, models: Sequence[str], *, baseline: str | None) -> list[Match]:
        """Each model alone."""
        del baseline
        return [Match(model) for model in models]

    def requests(self, answers: Mapping[str, Sequence[Answer]], match: Match) -> list[JudgeRequest]:
        """One grading per answered turn and repeat."""
        mine = answers[match.model]
        said: dict[tuple[QuestionId, int], dict[int, str]] = defaultdict(dict)
        for answer in mine:
            said[(answer.question_id, answer.sample)][answer.turn] = answer.text
        requests = []
        for answer in mine:
            replies = said[(answer.question_id, answer.sample)]
            if set(range(1, answer.turn)) - set(replies):
                raise DataError(
                    f"question {answer.question_id}: turn {answer.turn} is answered and an "
                    "earlier one is not"
                )
            request = protocol.single_request(
                self._files,
                self._by_id[answer.question_id],
                [replies[turn] for turn in sorted(replies)],
                turn=answer.turn,
            )
            requests.append(replace(request, models=(match.model,), sample=answer.sample))
        return requests

    def judge(
        self,
        answers: Mapping[str, Sequence[Answer]],
        match: Match,
        *,
        path: Path,
        on_done: Callable[[int, int], None],
    ) -> list[Judgment]:
        """Grade every answered turn; what stands in `path` is not asked again."""
        requests = self.requests(answers, match)

        def row(index: int, reply: JudgeReply) -> Judgment:
            return self._row(requests[index], answers[match.model][index], reply)

        return judged(self._judge, requests, path=path, make_row=row, on_done=on_done)

    def aggregate(self, judgments: Sequence[Judgment], match: Match) -> Scores:
        """The average first, then each turn; categories and FastChat's figures are details."""
        model = match.model
        categories = {q.question_id: q.category for q in self.questions}
        own = protocol.own_scores(judgments, categories)
        rated = [row for row in judgments if in_range(row["score"])]
        notices = self._notices(own, judgments, model=model)
        details = {
            "mt_bench": own,
            "fastchat": protocol.upstream_scores(judgments, categories),
            "categories": {
                category: _bounds(
                    self._interval([r for r in rated if categories[r["question_id"]] == category])
                )
                for category in own["by_category"]
            },
            "references": self._settings.references,
            "questions": len(self.questions),
        }
        if own["average"] is None:
            return Scores((), {}, None, details, notices)
        parts = {
            "average": rated,
            "turn_1": [row for row in rated if row["turn"] == 1],
            "turn_2": [row for row in rated if row["turn"] == 2],
        }
        scores = tuple(
            Score.of(
                self._interval(rows),
                benchmark=self.name,
                model=model,
                judge=self.judge_name,
                metric=metric,
            )
            for metric, rows in parts.items()
        )
        return Scores(scores, _by_question(rated), own["average"], details, notices)

    def close(self) -> None:
        """Free the judge."""
        self._judge.close()

    def _row(self, request: JudgeRequest, answer: Answer, reply: JudgeReply) -> Judgment:
        (model,) = request.models
        row = protocol.single_row(request, model=model, judge=self.judge_name, judgment=reply.text)
        return {
            **row,
            "category": self._by_id[request.question_id].category,
            "sample": request.sample,
            "answer": answer.text,
            "stopped": answer.stopped,
            "tstamp": time.time(),
        }

    def _interval(self, rows: Sequence[Judgment]) -> Interval:
        """The mean rating, drawn by question within its category."""
        strata: dict[Hashable, Hashable] = {q.question_id: q.category for q in self.questions}
        return bootstrap_mean(
            [float(row["score"]) for row in rows],
            [row["question_id"] for row in rows],
            replicates=self._replicates,
            seed=self._seed,
            strata=strata,
        )

    def _notices(
        self, own: dict[str, object], judgments: Sequence[Judgment], *, model: str
    ) -> tuple[str, ...]:
        found = []
        coverage = float(str(own["coverage"]))
        if coverage < protocol.MINIMAL_COVERAGE:
            found.append(f"{model}: {coverage:.0%} of the judgments were parsed: no score")
        elif coverage < protocol.COMPLETE_COVERAGE:
            found.append(f"{model}: incomplete, {coverage:.0%} of the judgments were parsed")
        if len(self.questions) < _ALL_QUESTIONS:
            found.append(f"{model}: incomplete, {len(self.questions)} of 80 questions were asked")
        cut = sum(not row["stopped"] for row in judgments)
        if cut > 0.2 * len(judgments):
            found.append(f"{model}: {cut} of {len(judgments)} answers were cut at the token limit")
        return tuple(found)


def benchmark(recipe: Recipe) -> MtBench | LeftOut:
    """The benchmark as the recipe asks for it."""
    if recipe.eval.judge.spec is None:
        return LeftOut("eval.judge.spec is not set; MT-Bench needs a judge")
    files = read_mt_bench(recipe.eval.data_dir, references=recipe.eval.mt_bench.references)
    return MtBench(files, open_judge(recipe), recipe=recipe)


def _by_question(rows: Sequence[Judgment]) -> dict[Hashable, float]:
    ratings: dict[Hashable, list[float]] = defaultdict(list)
    for row in rows:
        ratings[row["question_id"]].append(row["score"])
    return {question: sum(values) / len(values) for question, values in ratings.items()}


def _bounds(interval: Interval) -> dict[str, float | int]:
    return {
        "value": interval.value,
        "low": interval.low,
        "high": interval.high,
        "n": interval.n,
    }
