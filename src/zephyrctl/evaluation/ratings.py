"""What do ratings from 1 to 10 add up to?

Each answered turn has one rating a repeat. The last judgment of a (question, turn, repeat) counts,
its repairs included; repeats are averaged within their turn before anything else, so that a
question that was judged more often weighs no more. Intervals draw whole questions, within their
category.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from zephyrctl.config.schema import Recipe
from zephyrctl.evaluation.benchmark import (
    Answer,
    Judgment,
    Match,
    Question,
    Score,
    Scores,
)
from zephyrctl.evaluation.cells import (
    Cell,
    asked_cells,
    bounds,
    by_category,
    cell_interval,
    question_means,
    replies_of,
)
from zephyrctl.evaluation.coverage import COMPLETE_COVERAGE, MINIMAL_COVERAGE, shortfall
from zephyrctl.evaluation.judges.contract import Judge, JudgeReply, JudgeRequest
from zephyrctl.evaluation.repairs import RATING_WANTED, is_repair, judged_with_repairs
from zephyrctl.evaluation.statistics import Interval, Scale
from zephyrctl.evaluation.verdicts import (
    RATING_SCALE,
    RATINGS,
    UNPARSED,
    bare_option,
    by_fallback,
    expected_rating,
    parse_rating,
    probabilities,
    read_rating,
    with_options,
)

_ALONE = "Do not explain anything. Your whole reply is the rating: one whole number from 1 to 10."


@dataclass(frozen=True)
class Rater:
    """How the answers of one benchmark are rated and counted."""

    benchmark: str
    judge: Judge
    questions: tuple[Question, ...]
    by_probability: bool
    repairs: bool
    repeats: int
    replicates: int
    seed: int

    @classmethod
    def of(
        cls, recipe: Recipe, judge: Judge, *, benchmark: str, questions: Sequence[Question]
    ) -> Rater:
        """The rater that a recipe asks for; recorded judgments are never repaired."""
        settings = recipe.eval
        return cls(
            benchmark=benchmark,
            judge=judge,
            questions=tuple(questions),
            by_probability=settings.judge.scoring == "probabilities",
            repairs=not (settings.judge.spec or "").startswith("replay:"),
            repeats=settings.repeats,
            replicates=settings.bootstrap,
            seed=recipe.seed,
        )

    def requests(
        self,
        answers: Sequence[Answer],
        prompt: Callable[[Answer, Sequence[str]], JudgeRequest],
        *,
        model: str,
    ) -> list[JudgeRequest]:
        """One rating per answered turn and repeat, as this judge is asked for it.

        `prompt` writes the request for an answer, given the replies up to its own.
        """
        said = replies_of(answers)
        found = []
        for answer in answers:
            replies = said[(answer.question_id, answer.sample)][: answer.turn]
            asked = replace(prompt(answer, replies), models=(model,), sample=answer.sample)
            found.append(with_options(asked, RATINGS, _ALONE) if self.by_probability else asked)
        return found

    def judged(
        self,
        requests: Sequence[JudgeRequest],
        answers: Sequence[Answer],
        *,
        path: Path,
        on_done: Callable[[int, int], None],
    ) -> list[Judgment]:
        """One judgment for each request about the answer at its place, then the repairs."""
        asked = {question.question_id: question for question in self.questions}

        def row(index: int, reply: JudgeReply) -> Judgment:
            answer, request = answers[index], requests[index]
            return {
                **rating_row(request, reply, judge=self.judge.name),
                "category": asked[request.question_id].category,
                "sample": request.sample,
                "prompt": asked[request.question_id].turns[request.turn - 1],
                "answer": answer.text,
                "stopped": answer.stopped,
                "tstamp": time.time(),
            }

        return judged_with_repairs(
            self.judge,
            requests,
            path=path,
            make_row=row,
            on_done=on_done,
            unread=lambda row: row["judgment"] if row["rating"] is None else None,
            wanted=RATING_WANTED if self.repairs else None,
        )

    def scores(
        self, judgments: Sequence[Judgment], match: Match, *, about: Mapping[str, Any]
    ) -> Scores:
        """The average first, then each turn; `about` goes into the details."""
        counted = Counted.of(judgments, self.questions)
        notices = [*shortfall(match.label, counted.coverage), *self._doubts(counted, match)]
        details = {**self._details(counted), **about}
        if counted.coverage < MINIMAL_COVERAGE:
            return Scores((), {}, None, {**details, "categories": {}}, tuple(notices))
        turns = sorted({turn for _, turn in counted.means})
        parts = {
            "average": counted.means,
            **{f"turn_{n}": {c: m for c, m in counted.means.items() if c[1] == n} for n in turns},
        }
        scores = tuple(
            Score.of(
                self.interval(means),
                benchmark=self.benchmark,
                model=match.model,
                judge=self.judge.name,
                metric=metric,
            )
            for metric, means in parts.items()
        )
        categories = {
            name: bounds(self.interval(means))
            for name, means in by_category(counted.means, self.questions).items()
        }
        by_question = question_means(counted.means)
        return Scores(
            scores,
            by_question,
            scores[0].value,
            {**details, "categories": categories},
            tuple(notices),
        )

    def interval(self, means: Mapping[Cell, float], *, scale: Scale = RATING_SCALE) -> Interval:
        """The mean of some cells with its interval."""
        return cell_interval(
            means, self.questions, replicates=self.replicates, seed=self.seed, scale=scale
        )

    def _details(self, counted: Counted) -> dict[str, Any]:
        return {
            "n": counted.n,
            "unparsed": counted.unparsed,
            "coverage": counted.coverage,
            "incomplete": counted.coverage < COMPLETE_COVERAGE,
            "repaired": counted.repaired,
            "by_fallback": counted.by_fallback,
            "by_probability": counted.by_probability,
            "truncated": counted.truncated,
            "judge": self.judge.name,
            "repeats": self.repeats,
            "questions": len(self.questions),
        }

    def _doubts(self, counted: Counted, match: Match) -> list[str]:
        found = []
        if counted.repaired:
            found.append(
                f"{match.label}: {counted.repaired} ratings were had only by asking the judge for "
                "them once more"
            )
        if counted.silent:
            found.append(
                f"{match.label}: {counted.silent} judgments are empty; a judge that reasons first "
                "needs more room: --set eval.judge.max_tokens=8192"
            )
        if self.by_probability and counted.by_probability < counted.n:
            found.append(
                f"{match.label}: the judge gave no probabilities for "
                f"{counted.n - counted.by_probability} of {counted.n} ratings, which were read "
                "from its text"
            )
        return found


@dataclass(frozen=True)
class Counted:
    """Judgments counted: the mean rating of each cell that has one, and what stands behind it."""

    means: Mapping[Cell, float]
    n: int
    unparsed: int
    coverage: float
    repaired: int
    by_fallback: int
    by_probability: int
    truncated: int
    silent: int
    """Judgments without any text or probability."""

    @classmethod
    def of(cls, judgments: Sequence[Judgment], questions: Sequence[Question]) -> Counted:
        """Count the last judgment of each (question, turn, repeat) of `questions`."""
        asked = asked_cells(questions)
        last = {
            (row["question_id"], row["turn"], row["sample"]): row
            for row in judgments
            if (row["question_id"], row["turn"]) in asked
        }
        ratings: dict[Cell, list[float]] = defaultdict(list)
        total: dict[Cell, int] = defaultdict(int)
        for (question, turn, _), row in last.items():
            total[(question, turn)] += 1
            if row["rating"] is not None:
                ratings[(question, turn)].append(float(row["rating"]))
        kept = [row for row in last.values() if row["rating"] is not None]
        shares = sum(len(values) / total[cell] for cell, values in ratings.items())
        return cls(
            means={cell: sum(values) / len(values) for cell, values in ratings.items()},
            n=len(kept),
            unparsed=len(last) - len(kept),
            coverage=shares / len(asked) if asked else 0.0,
            repaired=sum(is_repair(row) for row in kept),
            by_fallback=sum(
                "probabilities" not in row and by_fallback(row["judgment"]) for row in kept
            ),
            by_probability=sum("probabilities" in row for row in kept),
            truncated=sum(not row["stopped"] for row in last.values()),
            silent=sum(
                row["rating"] is None and not row["judgment"].strip() for row in last.values()
            ),
        )


def rating_row(request: JudgeRequest, reply: JudgeReply, *, judge: str) -> Judgment:
    """A row of `model_judgment/<judge>_single.jsonl`.

    `score` is what upstream would read, −1 for nothing; `rating` is ours, a number from 1 to 10 or
    None. Both are the expected rating where the judge gave `probabilities`.
    """
    (model,) = request.models
    row: Judgment = {
        "question_id": request.question_id,
        "model": model,
        "judge": [judge, request.prompt_name],
        "user_prompt": request.user,
        "judgment": reply.text,
    }
    chances = probabilities(reply, request.options) if request.options else None
    if chances is not None:
        rating: float | None = expected_rating(chances)
        return {
            **row, "score": rating, "rating": rating, "probabilities": chances,
            "turn": request.turn,
        }  # fmt: skip
    option = bare_option(reply.text, request.options)
    upstream = parse_rating(reply.text) if option is None else int(option)
    rating = read_rating(reply.text) if option is None else int(option)
    score = UNPARSED if upstream is None else upstream
    return {**row, "score": score, "rating": rating, "turn": request.turn}
