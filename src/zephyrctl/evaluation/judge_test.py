"""How does a judge do on pairs of answers that people voted on?

The pairs are MT-Bench's (arXiv 2306.05685): answers of six models with the votes of experts. A
judge is asked about a fixed sample of them as `eval mt-bench --mode pair` would ask it, in both
orders, and its verdicts are held against the votes, beside what GPT-4 and other people said of the
same pairs.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zephyrctl.config.schema import Recipe
from zephyrctl.errors import DataError
from zephyrctl.evaluation import agreement
from zephyrctl.evaluation.agreement import Compared
from zephyrctl.evaluation.benchmark import Answer, Judgment, Match
from zephyrctl.evaluation.coverage import MINIMAL_COVERAGE, shortfall
from zephyrctl.evaluation.files.folders import human_votes_folder, mt_bench_folder
from zephyrctl.evaluation.judges.contract import Judge, JudgeRequest
from zephyrctl.evaluation.judges.replay import ReplayJudge
from zephyrctl.evaluation.mt_bench.benchmark import MtBench
from zephyrctl.evaluation.mt_bench.formats import read_answers, read_mt_bench
from zephyrctl.evaluation.mt_bench.games import ORDERS, Outcomes, whole, winner_of
from zephyrctl.evaluation.mt_bench.pairs import Pairing
from zephyrctl.evaluation.ratings import Rater
from zephyrctl.evaluation.repairs import is_repair
from zephyrctl.evaluation.statistics import Interval
from zephyrctl.evaluation.votes import (
    Item,
    Opinion,
    Verdicts,
    read_human_votes,
    read_verdicts,
    verdicts_of,
)
from zephyrctl.runs.digests import digest_json

# arXiv 2306.05685, table 5, first turn: GPT-4 by pairs and experts; with ties, without.
PUBLISHED = {
    "gpt_4": {"with_ties": 0.66, "without_ties": 0.85},
    "people": {"with_ties": 0.63, "without_ties": 0.81},
}
JUDGMENTS = "judgments.jsonl"


@dataclass(frozen=True)
class Exam:
    """What a judge is asked. `available` counts the pairs that the sample was drawn from,
    `lengths` has the characters of both answers to each sampled pair."""

    judge: Judge
    requests: tuple[JudgeRequest, ...]
    votes: tuple[Opinion, ...]
    gpt_4: Mapping[Item, Opinion]
    lengths: Mapping[Item, tuple[int, int]]
    available: int
    seed: int
    about: Mapping[str, Any]
    pairing: Pairing

    @property
    def items(self) -> list[Item]:
        """The sampled pairs."""
        return list(self.lengths)


def prepare(
    recipe: Recipe, judge: Judge, *, pairs: int, seed: int, turn: int | None = None
) -> Exam:
    """Draw the sample (of one turn, or of both) and write its requests; nothing is asked.

    Pairs count whose answers are both at hand and differ, and that at least one expert voted on
    (the paper's authors voted too, and are left out of its figures). DataError where there is none.
    """
    bench = _benchmark(recipe, judge)
    folder = human_votes_folder(recipe)
    answers = _answers(folder, {question.question_id for question in bench.questions})
    votes = read_human_votes(folder / "human.jsonl").votes
    available = sorted(
        {
            vote.item
            for vote in votes
            if turn in (None, vote.item[1]) and _can_be_judged(vote.item, answers)
        },
        key=str,
    )
    if not available:
        raise DataError(
            "no pair of answers that an expert voted on",
            where=str(folder),
            hint="zephyrctl eval fetch mt-bench",
        )
    draw = random.Random(f"judge-test {seed}")
    items = sorted(draw.sample(available, min(pairs, len(available))), key=str)
    chosen = set(items)
    return Exam(
        judge=judge,
        requests=tuple(_requests(bench, answers, items)),
        votes=tuple(vote for vote in votes if vote.item in chosen),
        gpt_4=_verdicts_of_gpt_4(folder, chosen),
        lengths={item: _lengths(item, answers) for item in items},
        available=len(available),
        seed=seed,
        about={
            "turn": turn,
            "references": recipe.eval.mt_bench.references,
            "scoring": recipe.eval.judge.scoring,
            "fence": recipe.eval.judge.fence,
            "benchmark_digest": bench.digest,
        },
        pairing=Pairing(Rater.of(recipe, judge, benchmark="judge-test", questions=bench.questions)),
    )


def sit(exam: Exam, *, folder: Path, on_done: Callable[[int, int], None]) -> list[Judgment]:
    """The judge's verdicts; what stands in `folder` is not asked again."""
    return exam.pairing.judged(exam.requests, path=folder / JUDGMENTS, on_done=on_done)


def card_of(exam: Exam, rows: Sequence[Judgment], *, replicates: int) -> dict[str, Any]:
    """Everything measured, as JSON. `agreement.judge` is None where fewer than 80 % of the pairs
    have a verdict."""
    measure = _Measure(exam, rows, replicates)
    verdicts = measure.verdicts
    counted = Outcomes.of(rows)
    coverage = len(verdicts.by_item) / len(exam.items)
    enough = coverage >= MINIMAL_COVERAGE
    with_judge = agreement.with_people(verdicts.by_item, exam.votes)
    among = agreement.among_people(exam.votes)
    by_gpt_4 = agreement.with_people(exam.gpt_4, exam.votes)
    return {
        "judge": exam.judge.name,
        "identity_sha256": digest_json(dict(exam.judge.identity)),
        "pairs": len(exam.items),
        "available": exam.available,
        "votes": len(exam.votes),
        "seed": exam.seed,
        **exam.about,
        "agreement": {
            "judge": measure.agreement(with_judge) if enough else None,
            "gpt_4": measure.agreement(by_gpt_4) if by_gpt_4 else None,
            "people": measure.agreement(among, exchangeable=True) if among else None,
            "published": PUBLISHED,
        },
        "by_category": agreement.table(with_judge, among)["by_category"] if enough else {},
        "order": measure.order(),
        "length": measure.length(),
        "unparsed": counted.counts["error"],
        "coverage": coverage,
        "repaired": counted.repaired,
        "notices": [*shortfall(exam.judge.name, coverage), *getattr(exam.judge, "notices", ())],
    }


@dataclass(frozen=True)
class _Measure:
    """What is computed of one sitting."""

    exam: Exam
    rows: Sequence[Judgment]
    replicates: int

    @property
    def verdicts(self) -> Verdicts:
        return verdicts_of(self.rows)

    def agreement(self, compared: Sequence[Compared], *, exchangeable: bool = False) -> Any:
        settings = {"replicates": self.replicates, "seed": self.exam.seed}
        parts = {"with_ties": compared, "without_ties": agreement.without_ties(compared)}
        kappa = agreement.kappa(compared, **settings, exchangeable=exchangeable)
        found = {
            name: {**agreement.counted(part), **_bounds(agreement.rate(part, **settings))}
            for name, part in parts.items()
        }
        return {**found, "kappa": kappa.to_json()}

    def order(self) -> dict[str, Any]:
        """How often the verdict changed with the order, and how often what was shown first won a
        game that has a winner; None where a recording does not tell the orders apart."""
        verdicts = self.verdicts.by_item
        flips = [(item[0], not verdict.is_consistent) for item, verdict in verdicts.items()]
        found = {"flips": sum(flip for _, flip in flips), **_bounds(self._share(flips))}
        judge = self.exam.judge
        if isinstance(judge, ReplayJudge) and not judge.knows_orders:
            return {**found, "first_shown_wins": None}
        first = [
            (row["question_id"], winner_of(row, order) == f"model_{order}")
            for row in whole([row for row in self.rows if not is_repair(row)])
            for order in ORDERS
            if winner_of(row, order) in ("model_1", "model_2")
        ]
        return {**found, "first_shown_wins": _bounds(self._share(first))}

    def length(self) -> dict[str, Any]:
        """How often the longer answer won, among verdicts (and votes) with a winner."""
        return {
            "judge": _bounds(self._share(self._longer(self.verdicts.by_item.values()))),
            "people": _bounds(self._share(self._longer(self.exam.votes))),
        }

    def _longer(self, opinions: Iterable[Opinion]) -> list[tuple[int | str, bool]]:
        found = []
        for opinion in opinions:
            first, second = self.exam.lengths[opinion.item]
            if opinion.winner != "tie" and first != second:
                found.append((opinion.item[0], (opinion.winner == "model_1") == (first > second)))
        return found

    def _share(self, found: Sequence[tuple[int | str, bool]]) -> Interval:
        return agreement.share(found, replicates=self.replicates, seed=self.exam.seed)


def _benchmark(recipe: Recipe, judge: Judge) -> MtBench:
    folder = mt_bench_folder(recipe)
    files = read_mt_bench(str(folder), references=recipe.eval.mt_bench.references)
    return MtBench(files, judge, recipe=recipe)


def _answers(folder: Path, questions: set[int | str]) -> dict[str, dict[int | str, list[str]]]:
    """The turns of each model's answers by question."""
    found = {}
    for path in sorted(folder.glob("model_answer_*.jsonl")):
        turns = {key: list(texts) for key, texts in read_answers(path).items() if key in questions}
        found[path.stem.removeprefix("model_answer_")] = turns
    return found


def _can_be_judged(item: Item, answers: Mapping[str, Mapping[int | str, Sequence[str]]]) -> bool:
    """Whether both answers are at hand, and are not the same."""
    question, turn, *models = item
    first, second = (answers.get(model, {}).get(question, ())[:turn] for model in models)
    return len(first) == len(second) == turn and first != second


def _lengths(
    item: Item, answers: Mapping[str, Mapping[int | str, Sequence[str]]]
) -> tuple[int, int]:
    question, turn, first, second = item
    return len(answers[first][question][turn - 1]), len(answers[second][question][turn - 1])


def _requests(
    bench: MtBench,
    answers: Mapping[str, Mapping[int | str, Sequence[str]]],
    items: Sequence[Item],
) -> list[JudgeRequest]:
    """Both orders of each pair, as the benchmark asks."""
    wanted: dict[tuple[str, str], set[tuple[int | str, int]]] = defaultdict(set)
    for question, turn, first, second in items:
        wanted[first, second].add((question, turn))
    found = []
    for (first, second), places in wanted.items():
        texts = {
            model: [
                Answer(question, turn, text, tokens=0, stopped=True)
                for question, turns in answers[model].items()
                for turn, text in enumerate(turns, start=1)
            ]
            for model in (first, second)
        }
        found += [
            request
            for request in bench.requests(texts, Match(first, second))
            if (request.question_id, request.turn) in places
        ]
    return found


def _verdicts_of_gpt_4(folder: Path, items: set[Item]) -> dict[Item, Opinion]:
    """What GPT-4 said of the sampled pairs, where its votes lie beside those of people."""
    found: dict[Item, Opinion] = {}
    for path in sorted(folder.glob("gpt4_pair*.jsonl")):
        verdicts = read_verdicts(path).by_item
        found |= {item: verdict for item, verdict in verdicts.items() if item in items}
    return found


def _bounds(interval: Interval) -> dict[str, Any]:
    return {
        "value": interval.value,
        "low": interval.low,
        "high": interval.high,
        "n": interval.n,
    }
