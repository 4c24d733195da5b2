"""Which of two models answers better, when each pair of answers is judged in both orders?"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from zephyrctl.evaluation.benchmark import Judgment, Match, Score, Scores
from zephyrctl.evaluation.cells import Cell, asked_cells, bounds, by_category, question_means
from zephyrctl.evaluation.coverage import COMPLETE_COVERAGE, MINIMAL_COVERAGE, shortfall
from zephyrctl.evaluation.judges.contract import JudgeReply, JudgeRequest
from zephyrctl.evaluation.mt_bench.games import Outcomes, game_row, upstream_rates, whole
from zephyrctl.evaluation.ratings import Rater
from zephyrctl.evaluation.repairs import WINNER_WANTED, is_repair, judged_with_repairs
from zephyrctl.evaluation.statistics import RATE, Interval
from zephyrctl.evaluation.verdicts import WINNERS, with_options

_ALONE = "Do not explain anything. Your whole reply is one letter: A, or B, or C for a tie."


@dataclass(frozen=True)
class Pairing:
    """How two models' answers are compared; asked, repaired and drawn as by its rater."""

    rater: Rater

    def request(self, request: JudgeRequest, match: Match, *, sample: int) -> JudgeRequest:
        """One game, as this judge is asked for it."""
        assert match.opponent is not None
        asked = replace(request, models=(match.model, match.opponent), sample=sample)
        return with_options(asked, WINNERS, _ALONE) if self.rater.by_probability else asked

    def judged(
        self,
        requests: Sequence[JudgeRequest],
        *,
        path: Path,
        on_done: Callable[[int, int], None],
    ) -> list[Judgment]:
        """One row a game, then the repairs."""
        judge = self.rater.judge
        asked = {question.question_id: question for question in self.rater.questions}

        def row(index: int, reply: JudgeReply) -> Judgment:
            request = requests[index]
            return {
                **game_row(request, reply, judge=judge.name),
                "category": asked[request.question_id].category,
                "sample": request.sample,
                "prompt": asked[request.question_id].turns[request.turn - 1],
                "tstamp": time.time(),
            }

        return judged_with_repairs(
            judge,
            requests,
            path=path,
            make_row=row,
            on_done=on_done,
            unread=_unread,
            wanted=WINNER_WANTED if self.rater.repairs else None,
        )

    def scores(
        self, judgments: Sequence[Judgment], match: Match, *, about: Mapping[str, Any]
    ) -> Scores:
        """`win_rate_vs_<opponent>` with ties half; `about` goes into the details."""
        counted = Outcomes.of(judgments)
        asked = asked_cells(self.rater.questions)
        values = {cell: value for cell, value in counted.values.items() if cell in asked}
        coverage = sum(counted.shares.get(cell, 0.0) for cell in asked) / max(1, len(asked))
        notices = [*shortfall(match.label, coverage), *self._doubts(counted, match)]
        details = {
            **counted.details(),
            "coverage": coverage,
            "incomplete": coverage < COMPLETE_COVERAGE,
            "judge": self.rater.judge.name,
            "repeats": self.rater.repeats,
            "questions": len(self.rater.questions),
            "fastchat": upstream_rates(whole([r for r in judgments if not is_repair(r)])),
            "categories": {},
            **about,
        }
        if coverage < MINIMAL_COVERAGE:
            return Scores((), {}, None, details, tuple(notices))
        parts = by_category(values, self.rater.questions)
        details["categories"] = {name: bounds(self._rate(part)) for name, part in parts.items()}
        for turn in sorted({turn for _, turn in values}):
            part = {cell: value for cell, value in values.items() if cell[1] == turn}
            details[f"turn_{turn}"] = bounds(self._rate(part))
        score = Score.of(
            self._rate(values),
            benchmark=self.rater.benchmark,
            model=match.model,
            judge=self.rater.judge.name,
            metric=f"win_rate_vs_{match.opponent}",
        )
        return Scores((score,), question_means(values), score.value, details, tuple(notices))

    def _rate(self, values: Mapping[Cell, float]) -> Interval:
        return self.rater.interval(values, scale=RATE)

    def _doubts(self, counted: Outcomes, match: Match) -> list[str]:
        found = []
        if counted.repaired:
            found.append(
                f"{match.label}: {counted.repaired} verdicts were had only by asking the judge for "
                "them once more"
            )
        read = counted.games - counted.by_probability
        if self.rater.by_probability and read:
            found.append(
                f"{match.label}: the judge gave no probabilities in {read} of {counted.games} "
                "games, which were read from its text"
            )
        return found


def _unread(row: Judgment) -> str | None:
    order = 1 if "g1_winner" in row else 2
    return str(row[f"g{order}_judgment"]) if row[f"g{order}_winner"] == "error" else None
