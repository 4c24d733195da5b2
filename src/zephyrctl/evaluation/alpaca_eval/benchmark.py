"""How often does a judge prefer a model's answers? (the benchmark `alpaca-eval`)

The protocol is in `protocol.py`, the arithmetic in `summary.py`; here they meet the stage: 805
instructions out, pairs with the baseline's outputs (or another model's) to the judge, judgments
kept as JSON lines keyed by everything that decides them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from zephyrctl.config.schema import Recipe
from zephyrctl.data.messages import Message
from zephyrctl.evaluation.alpaca_eval import protocol
from zephyrctl.evaluation.alpaca_eval.formats import (
    AlpacaEvalFiles,
    Instruction,
    read_alpaca_eval,
)
from zephyrctl.evaluation.alpaca_eval.records import Game, judged_row, same_row
from zephyrctl.evaluation.alpaca_eval.summary import Plan, summarize
from zephyrctl.evaluation.benchmark import (
    Answer,
    Judgment,
    LeftOut,
    Match,
    QuestionId,
    Scores,
)
from zephyrctl.evaluation.comparison import pairs
from zephyrctl.evaluation.files.folders import alpaca_eval_folder
from zephyrctl.evaluation.judges.contract import Judge, JudgeReply, JudgeRequest
from zephyrctl.evaluation.judges.open import judge_folder, open_judge
from zephyrctl.evaluation.judging import judged
from zephyrctl.generation.sampling import Sampling
from zephyrctl.runs.atomic import append_jsonl, read_jsonl
from zephyrctl.runs.digests import digest_json


class AlpacaEval:
    """The benchmark; see `evaluation.benchmark`."""

    name = "alpaca-eval"

    def __init__(self, files: AlpacaEvalFiles, judge: Judge, *, recipe: Recipe) -> None:
        settings = recipe.eval.alpaca_eval
        self.questions: tuple[Instruction, ...] = files.instructions[: settings.limit]
        self.judge_name = judge.name
        version_1 = "-alpaca-eval-1" if settings.version == 1 else ""
        self.judge_folder = judge_folder(f"{judge.name}{version_1}")
        self.repeats = recipe.eval.repeats
        self._files = files
        self.judged_by: Judge | None = judge
        self._judge = judge
        self._settings = settings
        self._fence = recipe.eval.judge.fence
        self._seed = recipe.seed
        self._is_local = (recipe.eval.judge.spec or "").startswith("local:")
        self._by_id = {question.question_id: question for question in self.questions}
        self._plan = Plan(
            benchmark=self.name,
            judge=judge.name,
            version=settings.version,
            questions=self.questions,
            baseline=files.baseline_name,
            gamed=files.gamed,
            repeats=recipe.eval.repeats,
            replicates=recipe.eval.bootstrap,
            seed=recipe.seed,
            c=settings.lc_c,
            upstream_compat=settings.upstream_compat,
            fenced=recipe.eval.judge.fence,
        )
        decided = settings.model_dump(mode="json", exclude={"max_new_tokens", "temperature"})
        self.digest = digest_json(
            [files.digest, decided, self._fence, len(self.questions), dict(judge.identity)]
        )

    def conversation(self, question: Instruction, replies: Sequence[str]) -> list[Message]:
        """The instruction alone."""
        del replies
        return [Message("user", question.turns[0])]

    def sampling(self, question: Instruction, *, sample: int) -> Sampling:
        """Upstream's for Zephyr: temperature 0.7, top-p 1, 2,048 tokens."""
        del question
        return Sampling(
            temperature=self._settings.temperature,
            max_new_tokens=self._settings.max_new_tokens,
            seed=self._seed + sample,
        )

    def matches(self, models: Sequence[str], *, baseline: str | None) -> list[Match]:
        """Each model against upstream's baseline outputs; with a `baseline` of one's own then
        each of the others against that."""
        alone = [Match(model) for model in models]
        if baseline is None or baseline not in models:
            return alone
        return [*alone, *(Match(model, other) for other, model in pairs(models, baseline=baseline))]

    def requests(self, answers: Mapping[str, Sequence[Answer]], match: Match) -> list[JudgeRequest]:
        """One request per pair and order; none for identical outputs."""
        games = self._games(answers, match)
        return [game.request for game in games if game.request is not None]

    def judge(
        self,
        answers: Mapping[str, Sequence[Answer]],
        match: Match,
        *,
        path: Path,
        on_done: Callable[[int, int], None],
    ) -> list[Judgment]:
        """A row per pair and order; what stands in `path` is not asked again."""
        version = self._settings.version
        games = self._games(answers, match)
        asked = [game for game in games if game.request is not None]
        alike = [
            same_row(game, judge=self.judge_name, version=version)
            for game in games
            if game.request is None
        ]
        known = {row["key"] for row in read_jsonl(path)}
        for row in alike:
            if row["key"] not in known:
                append_jsonl(path, row)

        def make_row(index: int, reply: JudgeReply) -> Judgment:
            return judged_row(asked[index], reply, judge=self.judge_name, version=version)

        requests = [game.request for game in asked if game.request is not None]
        rows = judged(self._judge, requests, path=path, make_row=make_row, on_done=on_done)
        # A deterministic judge has one row for equal requests of several repeats.
        placed = [
            {**row, "question_id": request.question_id, "sample": request.sample}
            for row, request in zip(rows, requests, strict=True)
        ]
        return [*alike, *placed]

    def aggregate(self, judgments: Sequence[Judgment], match: Match) -> Scores:
        """Length-controlled win rate first (version 2 against upstream's baseline), then win rate,
        discrete win rate and length."""
        return summarize(judgments, match, plan=self._plan)

    def close(self) -> None:
        """Free the judge."""
        self._judge.close()

    def _games(self, answers: Mapping[str, Sequence[Answer]], match: Match) -> list[Game]:
        if match.opponent is None:
            first = self._files.baseline_name
            theirs: dict[tuple[QuestionId, int], str] = {}
        else:
            first = match.opponent
            theirs = {(a.question_id, a.sample): a.text for a in answers[match.opponent]}
        games: list[Game] = []
        for answer in answers[match.model]:
            instruction = self._by_id[int(answer.question_id)]
            place = (answer.question_id, answer.sample)
            if match.opponent is not None and place not in theirs:
                continue
            other = instruction.baseline if match.opponent is None else theirs[place]
            pair = protocol.Pair(instruction.turns[0], other, answer.text)
            games += self._orders(instruction, pair, answer, (first, match.model), match)
        return games

    def _orders(
        self,
        instruction: Instruction,
        pair: protocol.Pair,
        answer: Answer,
        models: tuple[str, str],
        match: Match,
    ) -> list[Game]:
        if pair.is_same:
            return [Game(instruction, pair, answer, models, None)]
        if self._swaps(match):
            orders: tuple[int, ...] = (1, 2)
        else:
            orders = (2,) if protocol.is_switched(pair.instruction) else (1,)
        games = []
        for order in orders:
            request = protocol.request(
                self._files.prompt,
                pair,
                question_id=instruction.question_id,
                version=self._settings.version,
                order=order,
                fence=self._fence,
            )
            request = replace(request, models=models, sample=answer.sample)
            games.append(Game(instruction, pair, answer, models, request))
        return games

    def _swaps(self, match: Match) -> bool:
        """Whether both orders are judged; by default where a place would decide a close pair."""
        if self._settings.swap is not None:
            return self._settings.swap
        return match.opponent is not None or self._is_local


def benchmark(recipe: Recipe) -> AlpacaEval | LeftOut:
    """The benchmark as the recipe asks for it."""
    if recipe.eval.judge.spec is None:
        return LeftOut("eval.judge.spec is not set; AlpacaEval needs a judge")
    judge = open_judge(recipe)  # a wrong spec is said before anything is fetched for it
    version = recipe.eval.alpaca_eval.version
    files = read_alpaca_eval(alpaca_eval_folder(recipe), version=version)
    return AlpacaEval(files, judge, recipe=recipe)
