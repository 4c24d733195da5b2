"""What do stored judgments add up to, without asking anybody?

Rows are FastChat's, our own, or either without their long texts; single ratings and pairs may
stand in one file, and several models and judges too. Upstream's arithmetic takes all rows; ours
takes the last row of each (question, turn, model, judge, repeat).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zephyrctl.evaluation.cells import Cell, asked_cells, by_category, cell_interval
from zephyrctl.evaluation.coverage import MINIMAL_COVERAGE, shortfall
from zephyrctl.evaluation.mt_bench import protocol
from zephyrctl.evaluation.mt_bench.formats import Question
from zephyrctl.evaluation.mt_bench.games import VALUES, outcome, whole
from zephyrctl.evaluation.repairs import is_repair
from zephyrctl.evaluation.verdicts import RATING_SCALE, UNPARSED, in_range, parse_rating

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Rescored:
    """What a file comes to. `thin` names what has too few verdicts for a score."""

    models: tuple[dict[str, Any], ...]
    pairs: tuple[dict[str, Any], ...]
    notices: tuple[str, ...]
    thin: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The object of `eval rescore mt-bench --json`."""
        found: dict[str, Any] = {}
        if self.models or not self.pairs:
            found["models"] = list(self.models)
        if self.pairs:
            found["pairs"] = list(self.pairs)
        return found


def rescore(
    rows: Sequence[Row],
    *,
    questions: Sequence[Question] | None = None,
    replicates: int = 1000,
    seed: int = 0,
) -> Rescored:
    """Every number of the rows (see `stored.read_rows`), by model and judge in their order.

    Without `questions` MT-Bench's own are known by their ids, and others by the rows.
    """
    single: dict[tuple[str, str], list[Row]] = {}
    pairs: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        if "model" in row:
            single.setdefault((row["model"], _judge_of(row)), []).append(row)
        else:
            pairs.setdefault((row["model_1"], row["model_2"], _judge_of(row)), []).append(row)
    models = [
        _rated(name, judge, of, _asked(of, questions)) for (name, judge), of in single.items()
    ]
    found_pairs = [_pair(names, of) for names, of in pairs.items()]
    notices = [*_judges(single), *(text for model in models for text in _notices(model))]
    thin = [model.label for model in models if model.usable < MINIMAL_COVERAGE]
    for pair in found_pairs:
        played = pair["wins_1"] + pair["wins_2"] + pair["ties"]
        label = f"{pair['model_1']} against {pair['model_2']}"
        coverage = played / (played + pair["errors"])
        notices += shortfall(label, coverage)
        thin += [label] if coverage < MINIMAL_COVERAGE else []
    return Rescored(
        models=tuple(_model(model, replicates=replicates, seed=seed) for model in models),
        pairs=tuple(found_pairs),
        notices=tuple(notices),
        thin=tuple(thin),
    )


@dataclass(frozen=True)
class _Rated:
    """The ratings of one model by one judge, counted.

    `last` is the last row of each (question, turn, repeat), `means` the mean rating of each turn of
    a question, `usable` the share of the turns asked that has one.
    """

    name: str
    label: str
    questions: Sequence[Question]
    rows: Sequence[Row]
    last: Sequence[Row]
    means: Mapping[Cell, float]
    usable: float
    unparsed: int
    foreign: Sequence[Cell]

    @property
    def first_hand(self) -> list[Row]:
        """All rows but those that repair another."""
        return [row for row in self.rows if not is_repair(row)]

    @property
    def duplicates(self) -> int:
        """Rows that have a later one on the same question, turn and repeat."""
        rows = self.first_hand
        return len(rows) - len({_place(row) for row in rows})

    @property
    def outside(self) -> list[Row]:
        """Rows whose number is no rating from 1 to 10."""
        return [r for r in self.last if _rating(r) is not None and not in_range(_rating(r))]


def _rated(name: str, judge: str, rows: Sequence[Row], questions: Sequence[Question]) -> _Rated:
    asked = asked_cells(questions)
    last = {_place(row): row for row in rows}
    repeats = Counter(place[:2] for place in last)
    values: dict[Cell, list[float]] = {}
    for place, row in last.items():
        rating = _rating(row)
        if rating is not None and in_range(rating):
            values.setdefault(place[:2], []).append(float(rating))
    foreign = [cell for cell in values if cell not in asked]
    kept = {cell: found for cell, found in values.items() if cell in asked}
    shares = sum(len(found) / repeats[cell] for cell, found in kept.items())
    return _Rated(
        name=name,
        label=f"{name} ({judge})" if judge else name,
        questions=questions,
        rows=rows,
        last=list(last.values()),
        means={cell: sum(found) / len(found) for cell, found in kept.items()},
        usable=shares / max(1, len(asked)),
        unparsed=sum(_rating(row) is None for row in last.values()),
        foreign=foreign,
    )


def _model(rated: _Rated, *, replicates: int, seed: int) -> dict[str, Any]:
    """The entry of `models`; `n` counts judgments with a number, `unparsed` those without."""
    means, questions = rated.means, rated.questions
    scores = {
        "turn_1": _mean([value for cell, value in means.items() if cell[1] == 1]),
        "turn_2": _mean([value for cell, value in means.items() if cell[1] == 2]),
        "average": _mean(list(means.values())),
    }
    categories = {
        name: _mean(list(cells.values()))
        for name, cells in sorted(by_category(means, questions).items())
    }
    interval: list[float | None] = [None, None]
    if rated.usable < MINIMAL_COVERAGE:
        scores, categories = dict.fromkeys(scores), dict.fromkeys(categories)
    else:
        drawn = cell_interval(
            means, questions, replicates=replicates, seed=seed, scale=RATING_SCALE
        )
        interval = [drawn.low, drawn.high]
    numbered = len(rated.last) - rated.unparsed
    return {
        "model": rated.name,
        **scores,
        "by_category": categories,
        "n": numbered,
        "unparsed": rated.unparsed,
        "duplicates_dropped": rated.duplicates,
        "coverage": _coverage(rated),
        "interval": interval,
        "fastchat": protocol.upstream_scores(
            rated.first_hand, {question.question_id: question.category for question in questions}
        ),
    }


def _coverage(rated: _Rated) -> float:
    """The share of the turns asked whose judgment has a number, each repeat for its part."""
    repeats = Counter(_place(row)[:2] for row in rated.last)
    shares = sum(1 / repeats[_place(r)[:2]] for r in rated.last if _rating(r) is not None)
    return shares / max(1, len(asked_cells(rated.questions)), len(repeats))


def _notices(rated: _Rated) -> list[str]:
    """What a reader of these numbers has to know."""
    found = shortfall(rated.label, rated.usable)
    if rated.duplicates:
        found.append(
            f"{rated.label}: {rated.duplicates} rows have a later one on the same question and "
            "turn; the last counts, and upstream's figures count all"
        )
    if rated.outside:
        first = rated.outside[0]
        found.append(
            f"{rated.label}: {len(rated.outside)} ratings are outside 1 to 10 and count in no "
            f"mean of ours (question {first['question_id']}: {first['score']})"
        )
    if rated.foreign:
        question, turn = rated.foreign[0]
        found.append(
            f"{rated.label}: {len(rated.foreign)} ratings belong to none of the questions "
            f"(question {question}, turn {turn})"
        )
    changed = [row for row in rated.rows if _says_otherwise(row)]
    if changed:
        found.append(
            f"{rated.label}: {len(changed)} scores are not what their judgment says "
            f"(question {changed[0]['question_id']}, turn {changed[0]['turn']})"
        )
    return found


def _asked(rows: Sequence[Row], questions: Sequence[Question] | None) -> Sequence[Question]:
    """The questions a file's coverage is held against: those given, else MT-Bench's 80 where all
    ids are theirs, else those of the rows with as many turns as they show."""
    if questions is not None:
        return questions
    categories = {row["question_id"]: row.get("category") for row in rows}
    if all(protocol.category_of(place) for place in categories):
        ids = range(protocol.FIRST_ID, protocol.FIRST_ID + protocol.QUESTIONS)
        return [Question(n, str(protocol.category_of(n)), ("",) * protocol.TURNS) for n in ids]
    turns = Counter(dict.fromkeys(categories, 0))
    for row in rows:
        turns[row["question_id"]] = max(turns[row["question_id"]], row["turn"])
    return [
        Question(place, str(category or "unknown"), ("",) * turns[place])
        for place, category in categories.items()
    ]


def _pair(names: tuple[str, str, str], rows: Sequence[Row]) -> dict[str, Any]:
    counts = Counter(outcome(row) for row in whole(rows))
    return {
        "model_1": names[0],
        "model_2": names[1],
        "wins_1": counts["model_1"],
        "wins_2": counts["model_2"],
        "ties": counts["tie"],
        "errors": sum(count for name, count in counts.items() if name not in VALUES),
    }


def _rating(row: Row) -> float | None:
    """The number of a rating; None where there is none. Our own rows say so in `rating`."""
    if "rating" in row and row["rating"] is None:
        return None
    return None if row["score"] == UNPARSED else row["score"]


def _says_otherwise(row: Row) -> bool:
    """Whether the stored score is not the one that upstream reads from the judgment."""
    if "judgment" not in row or "rating" in row:
        return False
    said = parse_rating(str(row["judgment"]))
    return row["score"] != (UNPARSED if said is None else said)


def _judges(single: Mapping[tuple[str, str], Sequence[Row]]) -> list[str]:
    several = [name for name, times in Counter(name for name, _ in single).items() if times > 1]
    return [
        f"{name} was rated by {times} judges, and each has an entry: "
        + ", ".join(judge or "unnamed" for model, judge in single if model == name)
        for name in several
        for times in [sum(model == name for model, _ in single)]
    ]


def _judge_of(row: Row) -> str:
    judge = row.get("judge")
    return str(judge[0] if isinstance(judge, list) and judge else judge or "")


def _place(row: Row) -> tuple[Any, ...]:
    return (row["question_id"], row["turn"], row.get("sample", 0))


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
