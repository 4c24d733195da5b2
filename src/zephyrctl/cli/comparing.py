"""How does a comparison of stored scores read?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zephyrctl import terminal
from zephyrctl.config.layers import load
from zephyrctl.errors import UsageError
from zephyrctl.evaluation.stored import Pair, compare_stored, pairs_of, sides_of
from zephyrctl.reports import tables


def compared(
    a: str, b: str, *, benchmark: str | None, judge: str | None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The comparisons of two sides, and what does not compare with the reason.

    UsageError where nothing compares.
    """
    recipe = load().recipe
    root = Path(recipe.output_root).expanduser()
    sides = sides_of(a, b, output_root=root)
    found: list[dict[str, Any]] = []
    apart: list[dict[str, Any]] = []
    for pair in pairs_of(*sides, benchmark=benchmark, judge=judge):
        if pair.reason is not None:
            apart.append(_apart(pair))
            continue
        comparison = compare_stored(pair, replicates=recipe.eval.bootstrap, seed=recipe.seed)
        entry = {**comparison.to_json(), "scores": _scores(pair), "notes": _notes(pair)}
        found.append(terminal.finite(entry))
    if not found:
        reasons = "; ".join(f"{entry['benchmark']}: {entry['reason']}" for entry in apart)
        raise UsageError(
            f"{a} and {b} do not compare: {reasons}",
            hint="score both with the same questions and judge: zephyrctl eval mt-bench A B",
        )
    return found, apart


def lines_of(found: Sequence[Mapping[str, Any]], apart: Sequence[Mapping[str, Any]]) -> list[str]:
    """The comparisons as people read them."""
    lines: list[str] = []
    for entry in found:
        lines += ["", *_entry_lines(entry)] if lines else _entry_lines(entry)
    for entry in apart:
        lines += ["", f"{entry['benchmark']}: not comparable, {entry['reason']}"]
    return [terminal.safe(line) for line in lines]


def _entry_lines(entry: Mapping[str, Any]) -> list[str]:
    judged = "checked by code" if entry["judge"] is None else f"judge {entry['judge']}"
    names = (entry["a"], entry["b"])
    metric, benchmark = entry["metric"], entry["benchmark"]
    rows = [
        [
            name,
            tables.value_words(score["value"], metric=metric, benchmark=benchmark),
            tables.interval_words(score, benchmark=benchmark, metric=metric),
        ]
        for name, score in zip(names, entry["scores"], strict=True)
    ]
    rows.append(
        [
            f"{names[1]} − {names[0]}",
            tables.difference_words(entry),
            tables.interval_words(entry, benchmark=benchmark, signed=True),
        ]
    )
    lines = [f"{benchmark} · {judged} · {tables.metric_words(metric)}"]
    lines += [f"  {line}" for line in tables.aligned(rows)]
    needs = tables.needs_words(entry)
    count = f"n {entry['n']}"
    side = [] if needs else [tables.side_words(entry)]
    lines.append(f"  {' · '.join([*side, tables.odds_words(entry), count])}")
    lines += [f"  {needs}"] if needs else []
    lines += [f"  {line}" for line in _category_lines(entry)]
    return lines + [f"  ! {note}" for note in entry["notes"]]


def _category_lines(entry: Mapping[str, Any]) -> list[str]:
    rows = []
    for name, part in entry["categories"].items():
        whole = {**part, "benchmark": entry["benchmark"], "metric": entry["metric"]}
        words = tables.difference_words(whole)
        interval = tables.interval_words(whole, benchmark=entry["benchmark"], signed=True)
        rows.append([f"  {name or '(none)'}", words, interval, tables.side_words(whole)])
    return ["by category", *tables.aligned(rows, left=(0, 3))] if rows else []


def _scores(pair: Pair) -> list[dict[str, Any]]:
    """The main scores of both, as each stands by itself."""
    return [dict(item.record["scores"][0]) for item in (pair.a, pair.b)]


def _notes(pair: Pair) -> list[str]:
    """What differs between the sides beside the models."""
    about = [item.record.get("about", {}) for item in (pair.a, pair.b)]
    hashes = [entry.get("template_sha256") for entry in about]
    notes = []
    if None not in hashes and hashes[0] != hashes[1]:
        notes.append(f"the chat templates differ ({hashes[0][:8]}, {hashes[1][:8]})")
    if pair.a.is_imported or pair.b.is_imported:
        notes.append("imported: whether references and judge's prompts are the same is unknown")
    cut = [item.record.get("truncated") for item in (pair.a, pair.b)]
    if any(cut):
        notes.append(f"answers cut at the token limit: {cut[0]} and {cut[1]}")
    return notes


def _apart(pair: Pair) -> dict[str, Any]:
    return {
        "benchmark": pair.a.benchmark,
        "a": pair.a.match.label,
        "b": pair.b.match.label,
        "reason": pair.reason,
    }
