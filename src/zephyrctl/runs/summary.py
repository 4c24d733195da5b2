"""What came of a run, as one JSON object? (`zephyrctl runs show REF --json`)"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from zephyrctl.errors import DataError
from zephyrctl.runs.store import STAGES, Run, at_work

SCORE_KEYS = ("benchmark", "model", "judge", "metric", "value", "low", "high", "n")
COMPARISON_KEYS = ("benchmark", "a", "b", "difference", "low", "high")
COUNTED_KEYS = (
    "metric", "judge", "n", "p_better", "wins", "ties", "losses", "n_repeats", "repeats_needed",
    "repeats_are_a_bound", "questions_needed",
)  # fmt: skip
"""What a comparison says beside its difference, where it does."""


def summarize(run: Run, *, counted: bool = False) -> dict[str, Any]:
    """Stages, scores and comparisons of a run.

    `{"run", "stages": {name: {"state", "seconds", "metrics"}}, "scores": [...], "comparisons":
    [...]}`. A comparison is the difference b − a of a benchmark's main metric by the judge that
    judged last; others stand in `eval/**/comparisons.json`. `counted` adds to each how often b is
    better and what would tell the two apart.
    """
    return {
        "run": run.name,
        "stages": stage_states(run),
        "scores": scores(run),
        "comparisons": comparisons(run, counted=counted),
    }


def stage_states(run: Run) -> dict[str, dict[str, Any]]:
    """State, seconds and metrics of each stage that began; a killed one counts as stopped."""
    states: dict[str, dict[str, Any]] = {}
    works = at_work(run) is not None
    for name in STAGES:
        manifest = run.stage(name).read_manifest()
        if manifest is None:
            continue
        killed = manifest.state == "running" and not works
        states[name] = {
            "state": "stopped" if killed else manifest.state,
            "seconds": manifest.seconds,
            "metrics": manifest.metrics,
        }
    return states


def scores(run: Run) -> list[dict[str, Any]]:
    """Every score of the run, one model after the other in the order of the recipe."""
    found: list[dict[str, Any]] = []
    for path in sorted((run.root / "eval").glob("**/scores.json")):
        found += [_only(SCORE_KEYS, entry, path) for entry in _list(path, "scores")]
    order = {name: place for place, name in enumerate(_model_order(run))}
    last = len(order)
    return sorted(
        found,
        key=lambda s: (s["benchmark"], order.get(s["model"], last), s["model"], s["judge"] or ""),
    )


def comparisons(run: Run, *, counted: bool = False) -> list[dict[str, Any]]:
    """Differences between models, each with its 95 % interval; see `summarize`."""
    found: list[dict[str, Any]] = []
    for path in sorted((run.root / "eval").glob("**/comparisons.json"), key=_modified):
        entries = _list(path, "comparisons")
        main = {(entry.get("metric"), entry.get("judge")) for entry in entries[:1]}
        kept = [e for e in entries if (e.get("metric"), e.get("judge")) in main]
        for benchmark in {entry["benchmark"] for entry in kept}:
            found = [entry for entry in found if entry["benchmark"] != benchmark]
        found += [
            _only(COMPARISON_KEYS, entry, path)
            | {key: entry[key] for key in COUNTED_KEYS if counted and key in entry}
            for entry in kept
        ]
    return sorted(found, key=lambda entry: entry["benchmark"])


def _model_order(run: Run) -> list[str]:
    """Models as the recipe lists them, so that the base model comes first."""
    try:
        config = json.loads(run.config_path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return list(config.get("eval", {}).get("models", []))


def _list(path: Path, key: str) -> list[dict[str, Any]]:
    try:
        return list(json.loads(path.read_text(encoding="utf-8"))[key])
    except (ValueError, KeyError, TypeError):
        raise DataError(
            f"no list '{key}' in the file", where=str(path), hint="zephyrctl eval rules @last"
        ) from None


def _only(keys: tuple[str, ...], entry: dict[str, Any], path: Path) -> dict[str, Any]:
    missing = [key for key in keys if key not in entry and key != "judge"]
    if missing:
        raise DataError(f"an entry lacks {', '.join(missing)}", where=str(path))
    return {key: entry.get(key) for key in keys}


def _modified(path: Path) -> float:
    return path.stat().st_mtime
