"""What stands beside a run's scores: categories, coverage, template, judge?

The scores themselves come from `runs.summary`; here is the rest of each `scores.json`, for the
report and for a model's card.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zephyrctl.runs.store import Run

_FACTS = ("n", "unparsed", "coverage", "truncated", "repeats", "references", "scoring")


@dataclass(frozen=True)
class Category:
    """The main metric of one category, with its 95 % interval (NaN where there is none)."""

    name: str
    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class ScoreFile:
    """One `scores.json`: one model by one judge, alone or against `opponent`."""

    benchmark: str
    model: str
    judge: str | None
    opponent: str | None
    categories: tuple[Category, ...] = ()
    facts: tuple[tuple[str, Any], ...] = ()
    """What a number must not be read without, as label and value; `coverage` is 0..1."""
    judge_card: tuple[str, ...] = ()
    """What was measured of the judge, line by line."""
    notices: tuple[str, ...] = ()


def read_score_files(run: Run) -> list[ScoreFile]:
    """Every score file of the run; one that is torn or has no scores of its own is left out."""
    found = []
    for path in sorted((run.root / "eval").glob("*/**/scores.json")):
        record = _record(path)
        if record:
            found.append(_read(record, path.relative_to(run.root / "eval").parts))
    return found


def _read(record: Mapping[str, Any], parts: tuple[str, ...]) -> ScoreFile:
    """`parts` are the folders below `eval/`: benchmark, model, judge."""
    scores = record.get("scores") or [{}]
    about = record.get("about") or {}
    main = scores[0].get("metric", "value")
    return ScoreFile(
        benchmark=str(scores[0].get("benchmark", parts[0])),
        model=str(scores[0].get("model", parts[1])),
        judge=scores[0].get("judge", record.get("judge")),
        opponent=about.get("opponent"),
        categories=tuple(_categories(record.get("categories") or {}, main)),
        facts=tuple(_facts(record, about)),
        judge_card=tuple(map(str, (record.get("judge_card") or {}).get("lines") or ())),
        notices=tuple(map(str, record.get("notices") or ())),
    )


def _categories(entries: Mapping[str, Any], main: str) -> list[Category]:
    found = []
    for name, entry in entries.items():
        value = entry.get("value", entry.get(main))
        if value is not None:
            low, high = entry.get("low"), entry.get("high")
            low, high = (math.nan if bound is None else float(bound) for bound in (low, high))
            found.append(Category(name, float(value), low, high, int(entry.get("n", 0))))
    return found


def _facts(record: Mapping[str, Any], about: Mapping[str, Any]) -> list[tuple[str, Any]]:
    facts = [(key, record[key]) for key in _FACTS if record.get(key) is not None]
    words = [s for s in record.get("scores") or () if s.get("metric") == "mean_words"]
    facts += [("mean words", score.get("value")) for score in words]
    if "imported" in about or "template_sha256" not in about:
        return [*facts, ("template", "unknown")]
    template = about["template_sha256"]
    return [*facts, ("template", str(template)[:8] if template else "the endpoint's own")]


def _record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
