"""What stands beside a run's scores: categories, coverage, template, judge?

The scores themselves come from `runs.summary`; here is the rest of each `scores.json`, for the
report and for a model's card.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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
    digest: str | None = None
    """Of the questions and the judge; scores of different ones are not to be compared."""
    answers: Mapping[str, str] = field(default_factory=dict)
    """Digest of each model's answers that were judged."""
    written: float = 0.0
    """When, as seconds since 1970."""
    stale: str | None = None
    """Why the score does not belong beside the newest one of its benchmark and judge."""
    scores: tuple[Mapping[str, Any], ...] = ()
    """As `zephyrctl runs show --json` has them: metric, value, low, high, n."""
    weights: str | None = None
    """Digest of the model that was asked; None where that was not recorded."""


def read_score_files(run: Run) -> list[ScoreFile]:
    """Every score file of the run; one that is torn or has no scores of its own is left out."""
    found = []
    for path in sorted((run.root / "eval").glob("*/**/scores.json")):
        record = _record(path)
        if record:
            file = _read(record, path.relative_to(run.root / "eval").parts)
            found.append(replace(file, written=path.stat().st_mtime))
    return [_doubted(file, found) for file in found]


def _doubted(file: ScoreFile, files: Sequence[ScoreFile]) -> ScoreFile:
    """The file, with a notice where it does not belong beside the newest one."""
    beside = [f for f in files if (f.benchmark, f.judge) == (file.benchmark, file.judge)]
    newest = max(beside, key=lambda other: other.written)
    name = file.model if file.opponent is None else f"{file.model} against {file.opponent}"
    others = [model for model in file.answers if _answered_anew(model, file, beside)]
    stale = None
    if None not in (file.digest, newest.digest) and file.digest != newest.digest:
        stale = (
            f"{name}: scored earlier on other questions, by another judge of this name or with "
            f"other settings; not to be compared with {newest.model}"
        )
    elif others:
        stale = f"{name}: scored earlier on other answers of {' and '.join(others)}"
    return file if stale is None else replace(file, stale=stale, notices=(*file.notices, stale))


def _answered_anew(model: str, file: ScoreFile, beside: Sequence[ScoreFile]) -> bool:
    """Whether a later score is of other answers of `model`."""
    later = [f.answers[model] for f in beside if f.written > file.written and model in f.answers]
    return any(digest != file.answers[model] for digest in later)


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
        scores=tuple(score for score in scores if "metric" in score and "value" in score),
        weights=about.get("weights"),
        categories=tuple(_categories(record.get("categories") or {}, main)),
        facts=tuple(_facts(record, about)),
        judge_card=tuple(map(str, (record.get("judge_card") or {}).get("lines") or ())),
        notices=tuple(map(str, record.get("notices") or ())),
        digest=about.get("benchmark_digest"),
        answers=about.get("answers") or {},
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
    facts += [("mean words", score.get("value")) for score in words[:1]]  # then the opponent's
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
