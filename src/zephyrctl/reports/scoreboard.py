"""How do the scores of a run stand in the HTML report: tiles, bars, differences?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zephyrctl.reports import tables
from zephyrctl.reports.numbers import NOTHING, number
from zephyrctl.reports.svg import interval_bar
from zephyrctl.reports.tables import Score, ScoreGroup
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
class Group:
    """One benchmark by one judge."""

    heading: str
    blocks: tuple[Block, ...]
    differences: tuple[Row, ...]
    categories: tuple[tuple[str, ...], ...]
    """The main metric by category: category, then one cell per model."""
    models: tuple[str, ...]


def build_groups(run: Run, summary: Mapping[str, Any]) -> tuple[Group, ...]:
    """Every benchmark and judge of the run; `summary` as `runs.summary.summarize` gives it."""
    groups = tables.score_groups(summary["scores"])
    first_of_benchmark = {group.benchmark: group for group in reversed(groups)}
    return tuple(
        Group(
            heading=group.heading,
            blocks=tuple(_block(group, metric) for metric in group.metrics),
            differences=_differences(summary["comparisons"], benchmark=group.benchmark)
            if group is first_of_benchmark[group.benchmark]
            else (),
            categories=_categories(run, group),
            models=tuple(group.models),
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
    compared = [c for c in summary["comparisons"] if c["benchmark"] == group.benchmark]
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
            Row(
                label=model,
                value=tables.value_words(score["value"], metric=metric, benchmark=group.benchmark),
                interval=tables.interval_words(score, benchmark=group.benchmark, metric=metric),
                n=number(score["n"]),
                bar=_bar(score, span=span),
            )
            for model, score in present
        ),
    )


def _categories(run: Run, group: ScoreGroup) -> tuple[tuple[str, ...], ...]:
    """From the `categories` of each model's scores.json, where the benchmark has some."""
    cells: dict[str, dict[str, str]] = {}
    for model in group.models:
        for path in sorted((run.root / "eval" / group.benchmark / model).glob("*/scores.json")):
            record = json.loads(path.read_text(encoding="utf-8"))
            entries = record.get("categories") or {}
            if group.judge not in {score["judge"] for score in record["scores"]}:
                continue
            for category, entry in entries.items():
                value = entry.get("value", entry.get(group.metrics[0]))
                cells.setdefault(category, {})[model] = tables.value_words(
                    value, metric=group.metrics[0], benchmark=group.benchmark
                )
    return tuple(
        (category, *(by_model.get(model, NOTHING) for model in group.models))
        for category, by_model in cells.items()
    )


def _bar(score: Score, *, span: tuple[float, float]) -> str:
    if score["value"] is None:
        return ""
    return interval_bar(score["value"], low=score["low"], high=score["high"], span=span, zero=False)


def _span(metric: str, benchmark: str, scores: Sequence[Score]) -> tuple[float, float]:
    """The scale of a metric: 0 to 1 for rates, 0 to 100 for AlpacaEval's, 0 to 10 for ratings."""
    if tables.is_rate(metric):
        return (0.0, 100.0) if benchmark in tables.IN_PERCENT_ALREADY else (0.0, 1.0)
    highest = max((s[key] for s in scores for key in ("value", "high") if s[key] is not None),
                  default=1.0)  # fmt: skip
    if benchmark == "mt-bench" and highest <= 10:
        return (0.0, 10.0)
    return (0.0, highest * 1.05 or 1.0)


def _differences(comparisons: Sequence[Mapping[str, Any]], *, benchmark: str) -> tuple[Row, ...]:
    entries = [entry for entry in comparisons if entry["benchmark"] == benchmark]
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
