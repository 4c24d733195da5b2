"""Scores and comparisons as aligned lines of plain text."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from zephyrctl.reports.numbers import NOTHING, fixed, number, percent
from zephyrctl.runs.score_files import ScoreFile
from zephyrctl.terminal import finite, safe

Score = Mapping[str, Any]
Row = Sequence[str]


_VERSUS = "_vs_"
"""Stands before the opponent in the name of a metric."""
_COLUMNS = 78
"""Of a line of words, before it is indented."""
# Column heads of a terminal, where a page writes the metric out.
_SHORT = {
    "refusal_rate": "refusals",
    "hedging_rate": "hedges",
    "stopped_rate": "ended",
    "mean_words": "words",
    "length_controlled_winrate": "LC win rate",
    "discrete_win_rate": "discrete",
    "avg_length": "characters",
}


def results_lines(summary: Mapping[str, Any], files: Sequence[ScoreFile] = ()) -> list[str]:
    """Scores of every benchmark with their 95 % intervals, then the comparisons.

    `summary` has the shape of `runs.summary.summarize`. Each block names its judge. With `files`
    a judged block goes on with its other metrics and categories, each with its interval, and with
    what the scores must not be read without.
    """
    lines: list[str] = []
    for group in score_groups(summary["scores"]):
        lines += ["", *_group_lines(group)] if lines else _group_lines(group)
        mine = compared_in(group, summary["comparisons"])
        lines += comparison_lines(mine, benchmark=group.benchmark)
        key = (group.benchmark, group.judge)
        its = [file for file in files if (file.benchmark, file.judge) == key]
        its.sort(key=lambda file: (group.place(file.model), file.opponent or ""))
        more = [] if group.judge is None else [*_detail_lines(group, its), *_fact_lines(its)]
        lines += [f"  {line}" for line in [*more, *_stale_lines(its)]]
        cards = [] if group.judge is None else [line for f in its[-1:] for line in f.judge_card]
        lines += [f"  {safe(line)}" for line in cards]
    return lines


def _detail_lines(group: ScoreGroup, files: Sequence[ScoreFile]) -> list[str]:
    """Value and interval of every other metric and category, a column for each model judged
    alone."""
    models = _judged_alone(group)
    metrics = _own_metrics(group)[1:]
    rows = [
        [safe(_SHORT.get(name, metric_words(name))), *(_cell(group, m, name) for m in models)]
        for name in metrics
    ]
    rows += _category_rows(group, files, models)
    return aligned([["", *map(safe, models)], *rows]) if rows else []


def _category_rows(
    group: ScoreGroup, files: Sequence[ScoreFile], models: Sequence[str]
) -> list[list[str]]:
    """One row a category; none where there is only one."""
    alone = {file.model: file for file in files if file.opponent is None}
    shown = [alone[model].categories if model in alone else () for model in models]
    names = dict.fromkeys(category.name for categories in shown for category in categories)
    main = group.metrics[0]
    rows = []
    for name in names if len(names) > 1 else ():
        cells = []
        for categories in shown:
            found = {category.name: category for category in categories}.get(name)
            if found is None:
                cells.append(NOTHING)
                continue
            bounds = {key: finite(getattr(found, key)) for key in ("low", "high")}
            cells.append(_value_and_interval(found.value, bounds, group.benchmark, main))
        rows.append([safe(name) or "none", *cells])
    return rows


def _cell(group: ScoreGroup, model: str, metric: str) -> str:
    score = group.get(model, metric)
    if score is None:
        return NOTHING
    return _value_and_interval(score["value"], score, group.benchmark, metric)


def _value_and_interval(value: Any, bounds: Mapping[str, Any], benchmark: str, metric: str) -> str:
    words = value_words(value, metric=metric, benchmark=benchmark)
    return f"{words} {interval_words(bounds, benchmark=benchmark, metric=metric)}"


def _fact_lines(files: Sequence[ScoreFile]) -> list[str]:
    """`dpo: n 160, unparsed 1, coverage 99.4 %, references corrected, template ab12cd34`."""
    lines = []
    for file in files:
        name = file.model if file.opponent is None else f"{file.model} against {file.opponent}"
        words = ", ".join(f"{label} {fact_words(label, value)}" for label, value in file.facts)
        lines += _wrapped(f"{name}: {words}")
    return lines


def _stale_lines(files: Sequence[ScoreFile]) -> list[str]:
    return [line for file in files if file.stale for line in _wrapped(f"! {file.stale}")]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(safe(text), _COLUMNS, subsequent_indent="  ", break_on_hyphens=False)


def fact_words(label: str, value: Any) -> str:
    """What stands behind a score, as people read it; the coverage as a percentage."""
    if label == "coverage" and value is not None:
        return percent(value, places=1)
    return number(value, digits=3)


class ScoreGroup:
    """The scores of one benchmark by one judge: models down, metrics across."""

    def __init__(self, benchmark: str, judge: str | None) -> None:
        self.benchmark, self.judge = benchmark, judge
        self.models: list[str] = []
        self.metrics: list[str] = []
        self._scores: dict[tuple[str, str], Score] = {}

    def add(self, score: Score) -> None:
        """Take one score in; models and metrics keep the order in which they come."""
        model, metric = score["model"], score["metric"]
        if model not in self.models:
            self.models.append(model)
        if metric not in self.metrics:
            self.metrics.append(metric)
        self._scores[(model, metric)] = score

    def get(self, model: str, metric: str) -> Score | None:
        """One score, or None where it was not measured."""
        return self._scores.get((model, metric))

    def place(self, model: str) -> int:
        """Where the model stands in the table; behind all others where it has no score."""
        return self.models.index(model) if model in self.models else len(self.models)

    @property
    def heading(self) -> str:
        """Benchmark and judge; what code decides has no judge."""
        judged = "checked by code" if self.judge is None else f"judge {self.judge}"
        return safe(f"{self.benchmark} · {judged}")


def score_groups(scores: Sequence[Score]) -> list[ScoreGroup]:
    """Scores by benchmark and judge, in the order in which they come."""
    groups: dict[tuple[str, str | None], ScoreGroup] = {}
    for score in scores:
        key = (score["benchmark"], score["judge"])
        groups.setdefault(key, ScoreGroup(*key)).add(score)
    return list(groups.values())


def compared_in(
    group: ScoreGroup, comparisons: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """The comparisons of a group's scores: those of its benchmark by its judge, which only a
    counted summary names."""
    key = (group.benchmark, group.judge)
    return [entry for entry in comparisons if (entry["benchmark"], entry.get("judge")) == key]


def comparison_lines(comparisons: Sequence[Mapping[str, Any]], *, benchmark: str) -> list[str]:
    """One line per comparison of a benchmark: b − a, its interval, on which side of 0 it is, and
    where it was counted how often b is better; what would tell them apart in a line below."""
    mine = [entry for entry in comparisons if entry["benchmark"] == benchmark]
    rows = [
        [
            f"{safe(entry['b'])} − {safe(entry['a'])}",
            difference_words(entry),
            interval_words(entry, benchmark=benchmark, signed=True),
            odds_words(entry) or side_words(entry),
        ]
        for entry in mine
    ]
    lines: list[str] = []
    for entry, line in zip(mine, aligned(rows, left=(0, 3)), strict=True):
        lines.append(f"  {line}")
        needs = needs_words(entry)
        lines += [f"    {needs}"] if needs else []
    return lines


def value_words(value: Any, *, metric: str, benchmark: str) -> str:
    """A score as people read it: `63.5 %` for a rate, `6.24` for a rating."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return NOTHING if value is None else safe(str(value))
    if is_rate(metric):
        return f"{rate_scale(metric, benchmark) * value:.1f} %"
    return str(value) if isinstance(value, int) else fixed(value, 2)


def is_rate(metric: str) -> bool:
    """Whether a metric is a share of answers, such as `pass_rate` or `win_rate_vs_sft`."""
    return metric.partition(_VERSUS)[0].endswith(("rate", "winrate", "accuracy", "share"))


def rate_scale(metric: str, benchmark: str) -> int:
    """What makes a rate a percentage: rates are 0..1 in JSON, but AlpacaEval's own figures are
    percentages, as upstream prints them."""
    is_win_rate = "win_rate" in metric or "winrate" in metric
    return 1 if benchmark == "alpaca-eval" and is_win_rate else 100


def interval_words(
    entry: Mapping[str, Any], *, benchmark: str, metric: str = "", signed: bool = False
) -> str:
    """`[55.0, 71.9]`, in the unit of its value."""
    low, high = entry.get("low"), entry.get("high")
    if low is None or high is None:
        return NOTHING
    if signed:
        scale, places = _difference_scale(entry)
        return f"[{scale * low:+z.{places}f}, {scale * high:+z.{places}f}]"
    scale, places = (rate_scale(metric, benchmark), 1) if is_rate(metric) else (1, 2)
    return f"[{scale * low:.{places}f}, {scale * high:.{places}f}]"


def difference_words(entry: Mapping[str, Any]) -> str:
    """`+23.1 points` for rates, `+0.86` for ratings."""
    value = entry["difference"]
    if value is None:
        return NOTHING
    scale, places = _difference_scale(entry)
    return f"{scale * value:+z.{places}f}" + (" points" if places == 1 else "")


def side_words(entry: Mapping[str, Any]) -> str:
    """Whether the interval of a difference is above, below or around 0."""
    low, high = entry.get("low"), entry.get("high")
    if low is None or high is None:
        return ""
    return "above 0" if low > 0 else "below 0" if high < 0 else "not told apart from 0"


def odds_words(entry: Mapping[str, Any]) -> str:
    """`P(better) 0.99  win/tie/loss 51/9/20`; empty for a comparison that was not counted."""
    if entry.get("p_better") is None:
        return ""
    counts = "/".join(str(entry[name]) for name in ("wins", "ties", "losses"))
    return f"P(better) {entry['p_better']:.2f}  win/tie/loss {counts}"


_MOST_QUESTIONS, _MOST_REPEATS = 10_000, 1_000
"""More questions and repeats than these are not to be had."""


def needs_words(entry: Mapping[str, Any]) -> str:
    """What would tell two models apart that are not; empty where they are, or nothing is known."""
    low, high = entry.get("low"), entry.get("high")
    if low is None or high is None or low > 0 or high < 0 or not entry.get("questions_needed"):
        return ""
    have, repeats = entry.get("n_repeats", 1), entry.get("repeats_needed")
    if entry["questions_needed"] > _MOST_QUESTIONS and (repeats or math.inf) > _MOST_REPEATS:
        return "not told apart: no number of repeats or questions that can be had would do it"
    questions = f"{entry['questions_needed']:,} questions like these ({entry['n']} now)"
    if entry.get("repeats_are_a_bound"):
        return f"not told apart: needs {repeats:,} or more repeats (1 now), or about {questions}"
    if repeats is None:
        return f"not told apart: no number of repeats would do; needs about {questions}"
    return f"not told apart: needs about {repeats:,} repeats ({have} now), or {questions}"


def _difference_scale(entry: Mapping[str, Any]) -> tuple[int, int]:
    """Factor and decimals: rates become points, AlpacaEval's are that already, and the others are
    ratings. A comparison that does not name its metric is of the benchmark's main one."""
    metric = entry.get("metric")
    if metric is not None:
        return (rate_scale(metric, entry["benchmark"]), 1) if is_rate(metric) else (1, 2)
    return {"rules": (100, 1), "alpaca-eval": (1, 1)}.get(entry["benchmark"], (1, 2))


def aligned(rows: Sequence[Row], *, left: Sequence[int] = (0,), gap: str = "  ") -> list[str]:
    """Rows as lines with columns of equal width, flush right except for the columns in `left`."""
    if not rows:
        return []
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return [
        gap.join(
            f"{cell:<{width}}" if at in left else f"{cell:>{width}}"
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _group_lines(group: ScoreGroup) -> list[str]:
    """The heading, a row for each model's own scores, a line for each pair of models."""
    return [group.heading, *(f"  {line}" for line in [*_own_lines(group), *_pair_lines(group)])]


def _own_lines(group: ScoreGroup) -> list[str]:
    own, models = _own_metrics(group), _judged_alone(group)
    if not models:
        return []
    if group.judge is not None:  # the others follow with their intervals
        own = own[:1]
    main, others = own[0], own[1:]
    heads = [_SHORT.get(metric, metric_words(metric)) for metric in own]
    rows: list[list[str]] = [["model", heads[0], "95 % interval", *heads[1:], "n"]]
    for model in models:
        score = group.get(model, main)
        cells = [safe(model)]
        if score is None:
            cells += [NOTHING, NOTHING]
        else:
            cells.append(value_words(score["value"], metric=main, benchmark=group.benchmark))
            cells.append(interval_words(score, benchmark=group.benchmark, metric=main))
        for metric in others:
            other = group.get(model, metric)
            value = None if other is None else other["value"]
            cells.append(value_words(value, metric=metric, benchmark=group.benchmark))
        cells.append(number(None if score is None else score["n"]))
        rows.append(cells)
    return aligned(rows)


def _own_metrics(group: ScoreGroup) -> list[str]:
    return [name for name in group.metrics if _VERSUS not in name]


def _judged_alone(group: ScoreGroup) -> list[str]:
    own = _own_metrics(group)
    return [model for model in group.models if any(group.get(model, name) for name in own)]


def _pair_lines(group: ScoreGroup) -> list[str]:
    """`dpo against sft: win rate 58.3 % [50.0, 70.0], n 12`."""
    lines: list[str] = []
    versus = [name for name in group.metrics if _VERSUS in name]
    opponents = dict.fromkeys(name.partition(_VERSUS)[2] for name in versus)
    for model, opponent in product(group.models, opponents):
        names = [name for name in versus if name.partition(_VERSUS)[2] == opponent]
        found = [(name, score) for name in names if (score := group.get(model, name))]
        said = [_pair_words(name, score, benchmark=group.benchmark) for name, score in found]
        if found:
            count = f"n {number(found[0][1]['n'])}"
            lines += _wrapped(f"{model} against {opponent}: {', '.join([*said, count])}")
    return lines


def _pair_words(metric: str, score: Score, *, benchmark: str) -> str:
    kind = metric.partition(_VERSUS)[0]
    value = value_words(score["value"], metric=metric, benchmark=benchmark)
    interval = interval_words(score, benchmark=benchmark, metric=metric)
    return f"{_SHORT.get(kind, metric_words(kind))} {value} {interval}"


def metric_words(metric: str) -> str:
    """`pass_rate` as `pass rate`."""
    return safe(metric).replace("_", " ")
