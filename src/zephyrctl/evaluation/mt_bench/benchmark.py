"""How good are the answers to MT-Bench's 80 two-turn questions? (the benchmark `mt-bench`)

The protocol is in `protocol.py`; here it meets the stage. `eval.mt_bench.mode` says whether each
answer is rated, pairs of answers are compared in both orders, or both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from zephyrctl.config.schema import Recipe
from zephyrctl.config.schema.evaluation import Judge as JudgeSettings
from zephyrctl.data.messages import Message
from zephyrctl.errors import DataError, UsageError
from zephyrctl.evaluation.benchmark import Answer, Judgment, LeftOut, Match, Scores
from zephyrctl.evaluation.cells import replies_of
from zephyrctl.evaluation.comparison import pairs
from zephyrctl.evaluation.conversations import next_prompt
from zephyrctl.evaluation.coverage import shortened
from zephyrctl.evaluation.fencing import fence
from zephyrctl.evaluation.files.folders import mt_bench_folder
from zephyrctl.evaluation.judges.contract import Judge, JudgeRequest
from zephyrctl.evaluation.judges.open import judge_folder, open_judge
from zephyrctl.evaluation.mt_bench import protocol
from zephyrctl.evaluation.mt_bench.formats import MtBenchFiles, Question, read_mt_bench
from zephyrctl.evaluation.mt_bench.games import ORDERS
from zephyrctl.evaluation.mt_bench.pairs import Pairing
from zephyrctl.evaluation.ratings import Rater
from zephyrctl.evaluation.repairs import is_repair
from zephyrctl.generation.sampling import Sampling
from zephyrctl.runs.digests import digest_json

_UPSTREAM = "upstream"


class MtBench:
    """The benchmark; see `evaluation.benchmark`."""

    name = "mt-bench"

    def __init__(self, files: MtBenchFiles, judge: Judge, *, recipe: Recipe) -> None:
        settings = recipe.eval.mt_bench
        asking = recipe.eval.judge
        self.questions: tuple[Question, ...] = files.questions[: settings.limit]
        self.judge_name = judge.name
        self.judge_folder = judge_folder(judge.name)
        self.digest = digest_json(
            [
                files.digest, len(self.questions), dict(judge.identity), asking.scoring,
                asking.fence,
            ]
        )  # fmt: skip
        self.repeats = recipe.eval.repeats
        self._files = files
        self.judged_by: Judge | None = judge
        self._judge = judge
        self._settings = settings
        self._is_fenced = asking.fence
        self._prompts = _prompts_of(asking)
        self._seed = recipe.seed
        self._by_id = {question.question_id: question for question in self.questions}
        self._rater = Rater.of(recipe, judge, benchmark=self.name, questions=self.questions)
        self._pairing = Pairing(self._rater)
        _require_two_turns(self.questions)

    def conversation(self, question: Question, replies: Sequence[str]) -> list[Message]:
        """The turns so far with the model's own replies, and the next turn; no system prompt."""
        return next_prompt(question.turns, replies)

    def sampling(self, question: Question, *, sample: int) -> Sampling:
        """The category's temperature, and nothing of the model's own settings."""
        return Sampling(
            temperature=protocol.temperature(question.category),
            max_new_tokens=self._settings.max_new_tokens,
            seed=self._seed + sample,
        )

    def matches(self, models: Sequence[str], *, baseline: str | None) -> list[Match]:
        """Each model alone, and in the modes `pair` and `both` each against its opponents."""
        alone = [] if self._settings.mode == "pair" else [Match(model) for model in models]
        if self._settings.mode == "single":
            return alone
        against = [
            Match(model, opponent)
            for opponent, model in pairs(models, baseline=baseline)
            if opponent in models
        ]
        if not against:
            raise UsageError(
                "a comparison needs two models",
                where="eval.mt_bench.mode",
                hint="name a second MODEL, or --baseline MODEL, or --mode single",
            )
        return [*alone, *against]

    def requests(self, answers: Mapping[str, Sequence[Answer]], match: Match) -> list[JudgeRequest]:
        """One rating per answered turn and repeat; against an opponent one game per order."""
        if match.opponent is not None:
            return self._games(answers, match)
        return self._rater.requests(answers[match.model], self._single, model=match.model)

    def judge(
        self,
        answers: Mapping[str, Sequence[Answer]],
        match: Match,
        *,
        path: Path,
        on_done: Callable[[int, int], None],
    ) -> list[Judgment]:
        """Judge every answered turn; what stands in `path` is not asked again."""
        requests = self.requests(answers, match)
        if match.opponent is not None:
            return self._pairing.judged(requests, path=path, on_done=on_done)
        return self._rater.judged(requests, answers[match.model], path=path, on_done=on_done)

    def aggregate(self, judgments: Sequence[Judgment], match: Match) -> Scores:
        """The average first, then each turn (of a pair: the win rate); categories and FastChat's
        figures are details."""
        about: dict[str, Any] = {
            "references": self._settings.references,
            "prompts": self._prompts,
        }
        if match.opponent is not None:
            found = self._pairing.scores(judgments, match, about=about)
        else:
            categories = {q.question_id: q.category for q in self.questions}
            first = [row for row in judgments if not is_repair(row)]
            about["fastchat"] = protocol.upstream_scores(first, categories)
            found = self._rater.scores(judgments, match, about=about)
        if self._prompts != _UPSTREAM:
            notice = (
                f"{match.label}: the judge's prompts are not upstream's ({self._prompts}), so "
                "published figures do not compare"
            )
            found = replace(found, notices=(*found.notices, notice))
        return shortened(found, match.label, asked=len(self.questions), total=protocol.QUESTIONS)

    def close(self) -> None:
        """Free the judge."""
        self._judge.close()

    def _single(self, answer: Answer, replies: Sequence[str]) -> JudgeRequest:
        question = self._by_id[answer.question_id]
        if not self._is_fenced:
            return protocol.single_request(self._files, question, replies, turn=answer.turn)
        mark = fence(replies)
        enclosed = [mark.enclose(reply) for reply in replies]
        return mark.explain(
            protocol.single_request(self._files, question, enclosed, turn=answer.turn)
        )

    def _games(self, answers: Mapping[str, Sequence[Answer]], match: Match) -> list[JudgeRequest]:
        """Both orders of each turn that both models answered, in the order of the model's."""
        assert match.opponent is not None
        mine, theirs = replies_of(answers[match.model]), replies_of(answers[match.opponent])
        games = []
        for answer in answers[match.model]:
            place = (answer.question_id, answer.sample)
            if len(theirs.get(place, ())) < answer.turn:
                continue
            shown = (mine[place][: answer.turn], theirs[place][: answer.turn])
            for order in ORDERS:
                game = self._game(answer, shown, order=order)
                games.append(self._pairing.request(game, match, sample=answer.sample))
        return games

    def _game(
        self, answer: Answer, replies: tuple[Sequence[str], Sequence[str]], *, order: int
    ) -> JudgeRequest:
        question = self._by_id[answer.question_id]
        if not self._is_fenced:
            return protocol.pair_request(
                self._files, question, replies, turn=answer.turn, order=order
            )
        mark = fence([text for texts in replies for text in texts])
        ours, theirs = ([mark.enclose(text) for text in texts] for texts in replies)
        return mark.explain(
            protocol.pair_request(
                self._files, question, (ours, theirs), turn=answer.turn, order=order
            )
        )


def benchmark(recipe: Recipe) -> MtBench | LeftOut:
    """The benchmark as the recipe asks for it."""
    if recipe.eval.judge.spec is None:
        return LeftOut("eval.judge.spec is not set; MT-Bench needs a judge")
    judge = open_judge(recipe)  # a wrong spec is said before anything is fetched for it
    files = read_mt_bench(mt_bench_folder(recipe), references=recipe.eval.mt_bench.references)
    return MtBench(files, judge, recipe=recipe)


def _prompts_of(asking: JudgeSettings) -> str:
    """How the judge's prompts differ from upstream's, in words."""
    changes = {"fenced": asking.fence, "verdict alone": asking.scoring != "text"}
    return ", ".join(word for word, holds in changes.items() if holds) or _UPSTREAM


def _require_two_turns(questions: Sequence[Question]) -> None:
    for question in questions:
        if len(question.turns) > protocol.TURNS:
            raise DataError(
                f"question {question.question_id} has {len(question.turns)} turns, and MT-Bench's "
                "judge prompts know two",
                hint="zephyrctl eval mt-bench --questions FILE takes any number of turns",
            )
