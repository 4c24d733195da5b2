"""What share of verifiable instructions does a model follow? (the benchmark `rules`)

A question file is JSONL: `{"question_id", "category", "turns": [one text a turn], "checks",
"system"}`. `checks` is a list of checks of the last turn's answer, or a list of such lists, one a
turn; `{"name": "max_words", "value": 5}`, or the bare name of a check without parameters. An
answer passes when all of its checks do. Verdicts cost nothing, so they are made anew each time.
Files in IFEval's format are read too (see `ifeval`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from zephyrctl.catalogue import RULE_CHECKS
from zephyrctl.config.schema import Recipe
from zephyrctl.config.schema.section import Variant
from zephyrctl.data.messages import Message
from zephyrctl.data.refusals import find_hedge, find_refusal
from zephyrctl.errors import DataError, UsageError
from zephyrctl.evaluation import ifeval
from zephyrctl.evaluation.benchmark import (
    Answer,
    Judgment,
    LeftOut,
    Match,
    QuestionId,
    Score,
    Scores,
)
from zephyrctl.evaluation.checks import Checked
from zephyrctl.evaluation.conversations import next_prompt
from zephyrctl.evaluation.judges.contract import JudgeRequest
from zephyrctl.evaluation.question_files import (
    id_and_turns,
    question_row,
    read_question_file,
)
from zephyrctl.evaluation.statistics import Interval, bootstrap_mean
from zephyrctl.generation.sampling import Sampling
from zephyrctl.registry import did_you_mean, load_attribute
from zephyrctl.runs.atomic import dumps, write_text
from zephyrctl.runs.digests import digest_json

_KNOWN = ("question_id", "category", "turns", "checks", "system", "reference")


@dataclass(frozen=True)
class RuleQuestion:
    """One question; `checks` holds the checks of each turn."""

    question_id: QuestionId
    category: str
    turns: tuple[str, ...]
    checks: tuple[tuple[Variant, ...], ...]
    system: str | None


class Rules:
    """The benchmark; see `evaluation.benchmark`."""

    name = "rules"
    judged_by = None
    judge_name = None
    judge_folder = "code"
    repeats = 1

    def __init__(
        self,
        questions: Sequence[RuleQuestion],
        *,
        max_new_tokens: int,
        replicates: int = 1000,
        seed: int = 0,
    ) -> None:
        self.questions = tuple(questions)
        self.digest = digest_json([_to_json(question) for question in self.questions])
        self._max_new_tokens = max_new_tokens
        self._replicates = replicates
        self._seed = seed
        self._by_id = {question.question_id: question for question in self.questions}

    def conversation(self, question: RuleQuestion, replies: Sequence[str]) -> list[Message]:
        """The turns so far with the model's own replies, and the next turn."""
        return next_prompt(question.turns, replies, system=question.system)

    def sampling(self, question: RuleQuestion, *, sample: int) -> Sampling:
        """Greedy: the benchmark has no dice in it."""
        del question, sample
        return Sampling(max_new_tokens=self._max_new_tokens)

    def matches(self, models: Sequence[str], *, baseline: str | None) -> list[Match]:
        """Each model alone."""
        del baseline
        return [Match(model) for model in models]

    def requests(
        self, answers: Mapping[str, Sequence[Answer]], match: Match
    ) -> tuple[JudgeRequest, ...]:
        """Nobody is asked."""
        del answers, match
        return ()

    def judge(
        self,
        answers: Mapping[str, Sequence[Answer]],
        match: Match,
        *,
        path: Path,
        on_done: Callable[[int, int], None],
    ) -> list[Judgment]:
        """The verdicts of code on all answers, in the order of the questions."""
        rows = [self._verdict(answer, model=match.model) for answer in answers[match.model]]
        write_text(path, "".join(f"{dumps(row)}\n" for row in rows))
        on_done(len(rows), len(rows))
        return rows

    def aggregate(self, judgments: Sequence[Judgment], match: Match) -> Scores:
        """The share of answers that pass all their checks."""
        rated = [row for row in judgments if row["passed"] is not None]
        passed = self._interval(rated)
        score = Score.of(
            passed, benchmark=self.name, model=match.model, judge=None, metric="pass_rate"
        )
        return Scores(
            scores=(score,),
            by_question=_by_question(rated),
            gate=passed.value if rated else None,
            details={
                "categories": self._categories(rated),
                "failed_checks": dict(_failed(rated).most_common()),
                "questions": len(self.questions),
                "method": {"pass_rate": passed.method},
            },
        )

    def close(self) -> None:
        """Nothing is held."""

    def _verdict(self, answer: Answer, *, model: str) -> Judgment:
        question = self._by_id[answer.question_id]
        checks = question.checks[answer.turn - 1]
        checked = Checked(answer.text, answer.stopped)
        verdicts = []
        for check in checks:
            found = RULE_CHECKS.load(check.name)(checked, check)
            verdicts.append({"name": check.name, "passed": found is None, "found": found})
        return {
            "question_id": answer.question_id,
            "turn": answer.turn,
            "category": question.category,
            "model": model,
            "passed": all(verdict["passed"] for verdict in verdicts) if checks else None,
            "checks": verdicts,
            "refusal": find_refusal(answer.text),
            "hedge": find_hedge(answer.text),
            "stopped": answer.stopped,
            "tokens": answer.tokens,
            "prompt": question.turns[answer.turn - 1],
            "answer": answer.text,
        }

    def _interval(self, rows: Sequence[Judgment]) -> Interval:
        """The pass rate, drawn by question within its category."""
        strata: dict[Hashable, Hashable] = {
            question.question_id: question.category for question in self.questions
        }
        return bootstrap_mean(
            [float(row["passed"]) for row in rows],
            [row["question_id"] for row in rows],
            replicates=self._replicates,
            seed=self._seed,
            strata=strata,
        )

    def _categories(self, rows: Sequence[Judgment]) -> dict[str, dict[str, float | int]]:
        found: dict[str, dict[str, float | int]] = {}
        for category in dict.fromkeys(row["category"] for row in rows):
            mine = [row for row in rows if row["category"] == category]
            interval = self._interval(mine)
            found[category] = {
                "pass_rate": interval.value,
                "low": interval.low,
                "high": interval.high,
                "n": interval.n,
            }
        return found


def benchmark(recipe: Recipe) -> Rules | LeftOut:
    """The benchmark as the recipe asks for it."""
    settings = recipe.eval.rules
    if settings.questions is None:
        return LeftOut("eval.rules.questions is not set")
    return Rules(
        read_questions(Path(settings.questions))[: settings.limit],
        max_new_tokens=settings.max_new_tokens,
        replicates=recipe.eval.bootstrap,
        seed=recipe.seed,
    )


def read_questions(path: Path) -> list[RuleQuestion]:
    """The questions of a file in their order; DataError with the line of the first broken one."""
    return read_question_file(
        path, parse_question, setting="eval.rules.questions", hint="--questions FILE, a JSONL file"
    )


def parse_question(line: str, *, where: str) -> RuleQuestion:
    """One line of a question file; `where` is named in errors."""
    row = question_row(line, where=where)
    if ifeval.is_ifeval(row):
        row = ifeval.to_question(row, where=where)
    for key in row:
        if key not in _KNOWN:
            raise DataError(
                f"unknown key '{key}'{did_you_mean(key, _KNOWN)}",
                where=where,
                hint=f"known: {', '.join(_KNOWN)}",
            )
    question_id, turns = id_and_turns(row, where=where)
    category, system = row.get("category", ""), row.get("system")
    if not isinstance(category, str) or not isinstance(system, str | None):
        raise DataError("'category' and 'system' are texts", where=where)
    checks = _parse_checks(row.get("checks"), turns=len(turns), where=where)
    return RuleQuestion(question_id, category, turns, checks, system)


def _parse_checks(given: Any, *, turns: int, where: str) -> tuple[tuple[Variant, ...], ...]:
    """The checks of each turn; a flat list belongs to the last one."""
    if not isinstance(given, list) or not given:
        raise DataError("'checks' is a list with at least one check", where=where)
    per_turn = all(isinstance(item, list) for item in given)
    if per_turn and len(given) != turns:
        raise DataError(f"{len(given)} lists of checks for {turns} turns", where=where)
    lists = given if per_turn else [*([] for _ in range(turns - 1)), given]
    return tuple(tuple(_parse_check(item, where=where) for item in items) for items in lists)


def _parse_check(given: Any, *, where: str) -> Variant:
    record = {"name": given} if isinstance(given, str) else given
    if not isinstance(record, dict) or not isinstance(record.get("name"), str):
        raise DataError("a check is a name, or an object with a 'name'", where=where)
    try:
        entry = RULE_CHECKS.get(record["name"])
    except UsageError as error:
        raise DataError(error.message, where=where, hint=error.hint) from None
    model = load_attribute(entry.params) if entry.params else Variant
    try:
        return model.model_validate(record)
    except ValidationError as error:
        raise DataError(
            f"check '{entry.name}': {_first_problem(error, model)}",
            where=where,
            hint=f"parameters: {', '.join(_parameters(model)) or 'none'}",
        ) from None


def _first_problem(error: ValidationError, model: type[Variant]) -> str:
    problem = error.errors(include_url=False)[0]
    name = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        return f"unknown parameter '{name}'{did_you_mean(name, _parameters(model))}"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{name}: {message}" if name else message


def _parameters(model: type[Variant]) -> list[str]:
    return [name for name in model.model_fields if name != "name"]


def _to_json(question: RuleQuestion) -> dict[str, Any]:
    return {
        "question_id": question.question_id,
        "category": question.category,
        "turns": list(question.turns),
        "checks": [[check.model_dump() for check in checks] for checks in question.checks],
        "system": question.system,
    }


def _by_question(rows: Sequence[Judgment]) -> dict[Hashable, float]:
    """The mean verdict of each question over its turns."""
    verdicts: dict[Hashable, list[bool]] = {}
    for row in rows:
        verdicts.setdefault(row["question_id"], []).append(row["passed"])
    return {question: sum(passed) / len(passed) for question, passed in verdicts.items()}


def _failed(rows: Sequence[Judgment]) -> Counter[str]:
    return Counter(
        verdict["name"] for row in rows for verdict in row["checks"] if not verdict["passed"]
    )
