"""How good are the answers to questions of one's own? (the benchmark `own`)

Named `own-<name of the question file>` in scores, so that two files are two benchmarks. Every
answered turn is rated from 1 to 10 by a rubric; answers are always fenced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from zephyrctl.config.schema import Recipe
from zephyrctl.data.messages import Message
from zephyrctl.evaluation.benchmark import Answer, Judgment, LeftOut, Match, Scores
from zephyrctl.evaluation.conversations import next_prompt
from zephyrctl.evaluation.coverage import shortened
from zephyrctl.evaluation.fencing import fence
from zephyrctl.evaluation.judges.contract import Judge, JudgeRequest
from zephyrctl.evaluation.judges.open import judge_folder, open_judge
from zephyrctl.evaluation.mt_bench.protocol import temperature
from zephyrctl.evaluation.own.questions import OwnQuestion, read_questions
from zephyrctl.evaluation.own.rubric import PACKAGED, Rubric, read_rubric, require_usable
from zephyrctl.evaluation.ratings import Rater
from zephyrctl.generation.sampling import Sampling
from zephyrctl.runs.digests import digest_json, digest_text
from zephyrctl.runs.references import safe_name


class Own:
    """The benchmark; see `evaluation.benchmark`."""

    def __init__(
        self,
        name: str,
        questions: Sequence[OwnQuestion],
        rubric: Rubric,
        judge: Judge,
        *,
        recipe: Recipe,
    ) -> None:
        settings = recipe.eval.own
        self.name = name
        self.questions = tuple(questions)[: settings.limit]
        self._total = len(questions)
        self.judge_name = judge.name
        self.judge_folder = judge_folder(judge.name)
        self.digest = digest_json(
            [
                [
                    [question.question_id, question.category, question.turns, question.references]
                    for question in self.questions
                ],
                rubric.source,
                dict(judge.identity),
                recipe.eval.judge.scoring,
            ]
        )
        self.repeats = recipe.eval.repeats
        self._rubric = rubric
        self.judged_by: Judge | None = judge
        self._judge = judge
        self._settings = settings
        self._seed = recipe.seed
        self._by_id = {question.question_id: question for question in self.questions}
        self._rater = Rater.of(recipe, judge, benchmark=name, questions=self.questions)

    def conversation(self, question: OwnQuestion, replies: Sequence[str]) -> list[Message]:
        """The turns so far with the model's own replies, and the next turn; no system prompt."""
        return next_prompt(question.turns, replies)

    def sampling(self, question: OwnQuestion, *, sample: int) -> Sampling:
        """`eval.own.temperature`, or the category's as in MT-Bench."""
        given = self._settings.temperature
        return Sampling(
            temperature=temperature(question.category) if given is None else given,
            max_new_tokens=self._settings.max_new_tokens,
            seed=self._seed + sample,
        )

    def matches(self, models: Sequence[str], *, baseline: str | None) -> list[Match]:
        """Each model alone."""
        del baseline
        return [Match(model) for model in models]

    def requests(self, answers: Mapping[str, Sequence[Answer]], match: Match) -> list[JudgeRequest]:
        """One rating per answered turn and repeat."""
        return self._rater.requests(answers[match.model], self._request, model=match.model)

    def judge(
        self,
        answers: Mapping[str, Sequence[Answer]],
        match: Match,
        *,
        path: Path,
        on_done: Callable[[int, int], None],
    ) -> list[Judgment]:
        """Rate every answered turn; what stands in `path` is not asked again."""
        requests = self.requests(answers, match)
        return self._rater.judged(requests, answers[match.model], path=path, on_done=on_done)

    def aggregate(self, judgments: Sequence[Judgment], match: Match) -> Scores:
        """The average first, then each turn; categories are details."""
        with_reference = sum(bool(question.references) for question in self.questions)
        found = self._rater.scores(
            judgments,
            match,
            about={
                "references": f"{with_reference} of {len(self.questions)}",
                "rubric": Path(self._rubric.name).name,
                "rubric_sha256": digest_text(self._rubric.source),
            },
        )
        return shortened(found, match.label, asked=len(self.questions), total=self._total)

    def close(self) -> None:
        """Free the judge."""
        self._judge.close()

    def _request(self, answer: Answer, replies: Sequence[str]) -> JudgeRequest:
        mark = fence(replies)
        user = self._rubric.render(
            self._by_id[answer.question_id], [mark.enclose(reply) for reply in replies]
        )
        name = "own" if self._rubric.name == PACKAGED else safe_name(Path(self._rubric.name).stem)
        return mark.explain(JudgeRequest(answer.question_id, answer.turn, name, "", user))


def benchmark(recipe: Recipe) -> Own | LeftOut:
    """The benchmark as the recipe asks for it; errors in its files are found here."""
    settings = recipe.eval.own
    if settings.questions is None:
        return LeftOut("eval.own.questions is not set")
    if recipe.eval.judge.spec is None:
        return LeftOut("eval.judge.spec is not set; own questions need a judge")
    path = Path(settings.questions)
    questions = read_questions(path)
    rubric = read_rubric(Path(settings.rubric) if settings.rubric else None)
    by_text = recipe.eval.judge.scoring == "text"
    require_usable(rubric, questions, in_brackets=by_text)
    name = f"own-{safe_name(path.name.partition('.')[0])}"
    return Own(name, questions, rubric, open_judge(recipe), recipe=recipe)
