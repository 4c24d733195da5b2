"""How do the scores of a run stand in the HTML report: tiles, bars, radar, differences?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zephyrctl.reports import tables
from zephyrctl.reports.numbers import NOTHING, number
from zephyrctl.reports.radar import TONES, Shape, radar
from zephyrctl.reports.svg import interval_bar
from zephyrctl.reports.tables import Score, ScoreGroup
from zephyrctl.runs.score_files import Category, ScoreFile, read_score_files
from zephyrctl.runs.store import Run

# What a metric means where its name does not say it.
EXPLAINED = {
    "pass_rate": "answers that do what the question asks, checked by code",
    "refusal_rate": "answers that refuse; lower is better",
    "stopped_rate": "answers that ended before the length limit",
    "hedging_rate": "answers that open or close with a disclaimer; lower is better",
}


@dataclass(frozen=True)
class Tile:
    """A number worth a large font."""

    label: str
    value: str
    detail: str


@dataclass(frozen=True)
class Row:
    """One model, or one difference; `bar` is SVG."""

    label: str
    value: str
    interval: str
    n: str
    bar: str


@dataclass(frozen=True)
class Block:
    """One metric of all models, on one scale."""

    title: str
    explained: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Radar:
    """The main metric by category of up to four models; `keys` are their names and CSS tones."""

    svg: str
    keys: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Facts:
    """What the scores must not be read without: one row per model under `header`."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Group:
    """One benchmark by one judge."""

    heading: str
    blocks: tuple[Block, ...]
    differences: tuple[Row, ...]
    radar: Radar | None
    categories: tuple[Block, ...]
    """The main metric of every model, a block per category."""
    facts: Facts | None
    judge_card: tuple[str, ...]
    """What was measured of the judge, line by line."""
    stale: tuple[str, ...]
    """Which scores do not belong beside the others, and why."""


def build_groups(run: Run, summary: Mapping[str, Any]) -> tuple[Group, ...]:
    """Every benchmark and judge of the run; `summary` as `runs.summary.summarize` gives it."""
    groups = tables.score_groups(summary["scores"])
    files = {id(group): _files_of(group, read_score_files(run)) for group in groups}
    return tuple(
        Group(
            heading=group.heading,
            blocks=tuple(_block(group, metric) for metric in group.metrics),
            differences=_differences(
                tables.compared_in(group, summary["comparisons"]), benchmark=group.benchmark
            ),
            radar=_radar(group, files[id(group)]),
            categories=_categories(group, files[id(group)]),
            facts=_facts(files[id(group)]),
            judge_card=next((file.judge_card for file in files[id(group)] if file.judge_card), ()),
            stale=tuple(file.stale for file in files[id(group)] if file.stale),
        )
        for group in groups
    )


def build_tiles(summary: Mapping[str, Any]) -> tuple[Tile, ...]:
    """The main metric of the first benchmark for every model, then the last difference."""
    groups = tables.score_groups(summary["scores"])
    if not groups:
        return ()
    group = groups[0]
    main = group.metrics[0]
    tiles: list[Tile] = []
    for model in group.models:
        score = group.get(model, main)
        if score is not None:
            value = tables.value_words(score["value"], metric=main, benchmark=group.benchmark)
            title = f"{group.benchmark} {tables.metric_words(main)}"
            tiles.append(Tile(label=model, value=value, detail=title))
    compared = tables.compared_in(group, summary["comparisons"])
    if compared:
        widest = compared[-1]
        interval = tables.interval_words(widest, benchmark=group.benchmark, signed=True)
        tiles.append(
            Tile(
                label=f"{widest['b']} − {widest['a']}",
                value=tables.difference_words(widest),
                detail=f"{interval}, {tables.side_words(widest)}",
            )
        )
    return tuple(tiles)


def _block(group: ScoreGroup, metric: str) -> Block:
    present = [
        (model, score) for model in group.models if (score := group.get(model, metric)) is not None
    ]
    span = _span(metric, group.benchmark, [score for _, score in present])
    return Block(
        title=tables.metric_words(metric),
        explained=EXPLAINED.get(metric, ""),
        rows=tuple(
            _row(model, score, group=group, metric=metric, span=span) for model, score in present
        ),
    )


def _files_of(group: ScoreGroup, files: Sequence[ScoreFile]) -> list[ScoreFile]:
    """The score files of a group's models, in the order of the models."""
    mine = [
        file for file in files
        if (file.benchmark, file.judge) == (group.benchmark, group.judge)
        and file.model in group.models
    ]  # fmt: skip
    return sorted(mine, key=lambda file: (group.models.index(file.model), file.opponent or ""))


def _alone(files: Sequence[ScoreFile]) -> list[ScoreFile]:
    """The files of models that were judged without an opponent, where there are any."""
    return [file for file in files if file.opponent is None] or list(files)


def _radar(group: ScoreGroup, files: Sequence[ScoreFile]) -> Radar | None:
    shown = _alone(files)[: len(TONES)]
    axes = list(dict.fromkeys(category.name for file in shown for category in file.categories))
    shapes = [
        Shape(_label(file), {c.name: (c.value, c.low, c.high) for c in file.categories})
        for file in shown
    ]
    main = group.metrics[0]
    entries = [_as_entry(category) for file in shown for category in file.categories]
    svg = radar(
        f"{group.heading}, {tables.metric_words(main)} by category",
        axes,
        shapes,
        top=_span(main, group.benchmark, entries)[1],
    )
    whole = [shape for shape in shapes if all(axis in shape.values for axis in axes)]
    keys = tuple((shape.label, tone) for shape, tone in zip(whole, TONES, strict=False))
    return Radar(svg, keys) if svg else None


def _categories(group: ScoreGroup, files: Sequence[ScoreFile]) -> tuple[Block, ...]:
    main, shown = group.metrics[0], _alone(files)
    names = list(dict.fromkeys(category.name for file in shown for category in file.categories))
    entries = [_as_entry(category) for file in shown for category in file.categories]
    span = _span(main, group.benchmark, entries)
    return tuple(
        Block(
            title=name,
            explained="",
            rows=tuple(
                _row(_label(file), _as_entry(category), group=group, metric=main, span=span)
                for file in shown
                for category in file.categories
                if category.name == name
            ),
        )
        for name in names
    )


def _facts(files: Sequence[ScoreFile]) -> Facts | None:
    labels = list(dict.fromkeys(label for file in files for label, _ in file.facts))
    if not labels:
        return None
    rows = tuple(
        (_label(file), *(tables.fact_words(label, dict(file.facts).get(label)) for label in labels))
        for file in files
    )
    return Facts(("model", *labels), rows)


def _label(file: ScoreFile) -> str:
    return file.model if file.opponent is None else f"{file.model} against {file.opponent}"


def _as_entry(category: Category) -> dict[str, Any]:
    finite = math.isfinite(category.low) and math.isfinite(category.high)
    return {
        "value": category.value,
        "low": category.low if finite else None,
        "high": category.high if finite else None,
        "n": category.n,
    }


def _row(
    label: str, score: Score, *, group: ScoreGroup, metric: str, span: tuple[float, float]
) -> Row:
    return Row(
        label=label,
        value=tables.value_words(score["value"], metric=metric, benchmark=group.benchmark),
        interval=tables.interval_words(score, benchmark=group.benchmark, metric=metric),
        n=number(score["n"]),
        bar=_bar(score, span=span),
    )


def _bar(score: Score, *, span: tuple[float, float]) -> str:
    if score["value"] is None:
        return ""
    return interval_bar(score["value"], low=score["low"], high=score["high"], span=span, zero=False)


def _span(metric: str, benchmark: str, scores: Sequence[Score]) -> tuple[float, float]:
    """The scale of a metric: 0 to 1 for rates, 0 to 100 for AlpacaEval's, 0 to 10 for ratings."""
    if tables.is_rate(metric):
        return (0.0, 100.0 / tables.rate_scale(metric, benchmark))
    highest = max((s[key] for s in scores for key in ("value", "high") if s[key] is not None),
                  default=1.0)  # fmt: skip
    if (benchmark == "mt-bench" or benchmark.startswith("own-")) and 1 < highest <= 10:
        return (0.0, 10.0)
    return (0.0, highest * 1.05 or 1.0)


def _differences(entries: Sequence[Mapping[str, Any]], *, benchmark: str) -> tuple[Row, ...]:
    ends = [abs(e[key]) for e in entries for key in ("difference", "low", "high")
            if e[key] is not None]  # fmt: skip
    reach = max(ends, default=1.0) * 1.1 or 1.0
    return tuple(
        Row(
            label=f"{entry['b']} − {entry['a']}",
            value=tables.difference_words(entry),
            interval=tables.interval_words(entry, benchmark=benchmark, signed=True),
            n=tables.side_words(entry) or NOTHING,
            bar=""
            if entry["difference"] is None
            else interval_bar(
                entry["difference"],
                low=entry["low"],
                high=entry["high"],
                span=(-reach, reach),
                zero=True,
            ),
        )
        for entry in entries
    )
