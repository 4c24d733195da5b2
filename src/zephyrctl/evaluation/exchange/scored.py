"""What do imported judgments come to, by the benchmarks' own arithmetic?"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from zephyrctl.config.schema import Recipe
from zephyrctl.errors import DataError, UsageError
from zephyrctl.evaluation.alpaca_eval.formats import (
    ALL_INSTRUCTIONS,
    AlpacaEvalFiles,
    Instruction,
    Prompt,
    Version,
    read_alpaca_eval,
)
from zephyrctl.evaluation.alpaca_eval.protocol import ANNOTATORS
from zephyrctl.evaluation.alpaca_eval.summary import Plan, summarize
from zephyrctl.evaluation.benchmark import Match, Question, Scores
from zephyrctl.evaluation.comparison import Comparison, Measured, compare_two, pairs
from zephyrctl.evaluation.exchange import alpaca, fastchat
from zephyrctl.evaluation.exchange.sources import Annotations, Found, Judgments
from zephyrctl.evaluation.exchange.standing import Row
from zephyrctl.evaluation.files.folders import alpaca_eval_folder
from zephyrctl.evaluation.judges.contract import JudgeRequest, OnReply
from zephyrctl.evaluation.judges.open import judge_folder
from zephyrctl.evaluation.mt_bench import formats, protocol
from zephyrctl.evaluation.mt_bench.pairs import Pairing
from zephyrctl.evaluation.ratings import Rater
from zephyrctl.runs.references import safe_name


class ImportedJudge:
    """A judge of whom only the judgments are here; see `judges.contract.Judge`."""

    is_deterministic = True
    notices: Sequence[str] = ()

    def __init__(self, name: str) -> None:
        self.name = name
        self.identity: Mapping[str, Any] = {"imported": name}

    def decide(self, requests: Sequence[JudgeRequest], *, on_reply: OnReply) -> None:
        """Refused: there is nobody to ask."""
        raise UsageError(f"the judgments of '{self.name}' are imported; it cannot be asked")

    def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True)
class Imported:
    """One match with its rows of ours and what they come to."""

    benchmark: str
    match: Match
    judge: str
    judge_folder: str
    rows: list[Row]
    scores: Scores
    questions: Sequence[Question]


@dataclass(frozen=True)
class Result:
    """Everything of one source. `answers` has the rows of each model by benchmark and model."""

    imported: list[Imported]
    answers: dict[tuple[str, str], list[Row]]

    def comparisons(self, *, replicates: int, seed: int) -> dict[str, list[Comparison]]:
        """By benchmark, the models that the same judge scored, each with the one before it and the
        last with the first."""
        groups: dict[tuple[str, str], dict[str, Imported]] = {}
        for item in self.imported:
            if item.match.opponent is None and item.scores.scores:
                group = groups.setdefault((item.benchmark, item.judge_folder), {})
                group[item.match.model] = item
        found: dict[str, list[Comparison]] = {}
        for (benchmark, _), group in groups.items():
            for a, b in pairs(list(group), baseline=None):
                strata: dict[Hashable, Hashable] = {
                    q.question_id: q.category for q in group[b].questions
                }
                compared = compare_two(
                    Measured.of(a, group[a].scores),
                    Measured.of(b, group[b].scores),
                    benchmark=benchmark,
                    judge=group[b].judge,
                    strata=strata,
                    replicates=replicates,
                    seed=seed,
                )
                found.setdefault(benchmark, []).append(compared)
        return found


def scored(found: Found, recipe: Recipe) -> Result:
    """Rows of ours with their scores; `recipe` says seed, replicates and AlpacaEval's fit.

    Scores of AlpacaEval 2 need its files, which are fetched where they are not here.
    """
    if found.format == "fastchat":
        return _fastchat(found, recipe)
    return _alpaca_eval(found, recipe)


# ----------------------------------------------------------------------------------- FastChat


def _fastchat(found: Found, recipe: Recipe) -> Result:
    imported: list[Imported] = []
    answers: dict[tuple[str, str], list[Row]] = {}
    for judgments in found.judgments:
        questions, benchmark = _questions(judgments)
        if benchmark in {item.benchmark for item in imported}:
            raise DataError(
                f"two folders of judgments on {benchmark}",
                where=judgments.folder,
                hint="import each into a run of its own",
            )
        imported += _rated(judgments.rows, questions, benchmark, recipe)
        for path in judgments.answers:
            for row in fastchat.imported_answers(path):
                answers.setdefault((benchmark, safe_name(str(row["model_id"]))), []).append(row)
    return Result(imported, answers)


def _rated(
    rows_of_all: Sequence[Row], questions: Sequence[Question], benchmark: str, recipe: Recipe
) -> list[Imported]:
    """The matches in the rows of one benchmark, models alone first."""
    categories = {question.question_id: question.category for question in questions}
    groups: dict[tuple[Match, str], list[Row]] = {}
    for row in rows_of_all:
        if "model" in row:
            match = Match(safe_name(str(row["model"])))
        else:
            match = Match(safe_name(str(row["model_1"])), safe_name(str(row["model_2"])))
        groups.setdefault((match, fastchat.judge_of(row)), []).append(row)
    _refuse_collisions(rows_of_all)
    imported = []
    for (match, judge), rows in groups.items():
        rater = _rater(benchmark, judge, rows, questions, recipe)
        about: dict[str, Any] = {"references": "unknown", "prompts": "imported"}
        if match.opponent is None:
            kept = fastchat.imported_ratings(rows, categories)
            about["fastchat"] = protocol.upstream_scores(kept, categories)
            scores = rater.scores(kept, match, about=about)
        else:
            kept = fastchat.imported_pairs(rows, categories)
            scores = Pairing(rater).scores(kept, match, about=about)
        details = {k: v for k, v in scores.details.items() if k != "truncated"}
        scores = replace(scores, details=details)
        imported.append(
            Imported(benchmark, match, judge, judge_folder(judge), kept, scores, questions)
        )
    return sorted(imported, key=lambda item: item.match.opponent is not None)


def _questions(found: Judgments) -> tuple[list[Question], str]:
    """The questions that coverage is held against, and the benchmark they are of.

    MT-Bench's own are known by their ids; others by a `question.jsonl`, else by the rows.
    """
    asked = {row["question_id"] for row in found.rows}
    own = found.folder if fastchat.is_own(found.folder) else "own"
    if own != found.folder and all(
        protocol.category_of(question) is not None for question in asked
    ):
        known: list[Question] = [
            formats.Question(number, str(protocol.category_of(number)), ("",) * protocol.TURNS)
            for number in range(protocol.FIRST_ID, protocol.FIRST_ID + protocol.QUESTIONS)
        ]
        return known, "mt-bench"
    if found.questions:
        unknown = asked - {question.question_id for question in found.questions}
        if unknown:
            raise DataError(
                f"{len(unknown)} judged questions are not in question.jsonl, the first is "
                f"{sorted(map(str, unknown))[0]}"
            )
        return list(found.questions), own
    turns: dict[Any, int] = {}
    for row in found.rows:
        turns[row["question_id"]] = max(row["turn"], turns.get(row["question_id"], 0))
    return [formats.Question(key, "", ("",) * count) for key, count in turns.items()], own


def _rater(
    benchmark: str, judge: str, rows: Sequence[Row], questions: Sequence[Question], recipe: Recipe
) -> Rater:
    return Rater(
        benchmark=benchmark,
        judge=ImportedJudge(judge),
        questions=tuple(questions),
        by_probability=False,
        repairs=False,
        repeats=1 + max(int(row.get("sample", 0)) for row in rows),
        replicates=recipe.eval.bootstrap,
        seed=recipe.seed,
    )


def _refuse_collisions(rows: Sequence[Row]) -> None:
    fields = ("model", "model_1", "model_2")
    names = {str(row[name]) for row in rows for name in fields if name in row}
    labels: dict[str, str] = {}
    for name in sorted(names):
        other = labels.setdefault(safe_name(name), name)
        if other != name:
            raise DataError(
                f"'{other}' and '{name}' would share the folder {safe_name(name)}",
                hint="rename one of the models in the files",
            )


# --------------------------------------------------------------------------------- AlpacaEval


def _alpaca_eval(found: Found, recipe: Recipe) -> Result:
    imported: list[Imported] = []
    answers: dict[tuple[str, str], list[Row]] = {}
    for source in found.annotations:
        version = alpaca.version_of(source.rows)
        files = _files(source, recipe, version)
        places = {item.turns[0]: item.question_id for item in files.instructions}
        opponent = None if source.opponent is None else safe_name(source.opponent)
        match = Match(safe_name(source.model), opponent)
        judge = alpaca.judge_of(source.rows)
        rows = alpaca.imported_annotations(
            source.rows, model=match.model, places=places, version=version, where=source.where
        )
        folder = judge_folder(f"{judge}-v{version}")
        taken = {(item.match, item.judge_folder) for item in imported}
        if (match, folder) in taken:
            raise DataError(f"a second file of {match.label} by {judge}", where=source.where)
        scores = summarize(rows, match, plan=_plan(files, judge, version, recipe))
        questions = files.instructions
        imported.append(Imported("alpaca-eval", match, judge, folder, rows, scores, questions))
        answers.setdefault(("alpaca-eval", match.model), _answers(rows))
    imported.sort(key=lambda item: item.match.opponent is not None)
    return Result(imported, {place: rows for place, rows in answers.items() if rows})


def _files(source: Annotations, recipe: Recipe, version: Version) -> AlpacaEvalFiles:
    """AlpacaEval's files; version 1 has no fit that needs them, so its rows are enough."""
    if version == 2:
        return read_alpaca_eval(alpaca_eval_folder(recipe), version=2)
    instructions = tuple(
        Instruction(
            int(row.get("eval_index", place)),
            str(row.get("dataset", "")),
            (str(row.get("instruction", place)),),
            str(row.get("output_1", "")),
        )
        for place, row in enumerate(source.rows)
    )
    return AlpacaEvalFiles(instructions, ANNOTATORS[1].baseline, Prompt("", ""), None, "")


def _plan(files: AlpacaEvalFiles, judge: str, version: Version, recipe: Recipe) -> Plan:
    settings = recipe.eval.alpaca_eval
    return Plan(
        benchmark="alpaca-eval",
        judge=judge,
        version=version,
        questions=files.instructions[:ALL_INSTRUCTIONS],
        baseline=files.baseline_name,
        gamed=files.gamed,
        repeats=1,
        replicates=recipe.eval.bootstrap,
        seed=recipe.seed,
        c=settings.lc_c,
        upstream_compat=settings.upstream_compat,
        fenced=False,
    )


def _answers(rows: Sequence[Row]) -> list[Row]:
    return [
        {
            "key": row["key"],
            "identity": "imported",
            "question_id": row["question_id"],
            "turn": 1,
            "sample": 0,
            "answer": row["output_2"],
        }
        for row in rows
        if "output_2" in row
    ]
