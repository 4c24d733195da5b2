"""Which judgments does a run hold, and of which match is each file?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zephyrctl.errors import UsageError
from zephyrctl.evaluation.benchmark import Match
from zephyrctl.registry import did_you_mean
from zephyrctl.runs.atomic import read_jsonl
from zephyrctl.runs.store import Run

Row = dict[str, Any]
_AGAINST = "vs-"


@dataclass(frozen=True)
class Judged:
    """The judgments of one match by one judge, as they stand in a run."""

    benchmark: str
    match: Match
    folder: Path

    @property
    def rows(self) -> list[Row]:
        """The judgments in the order they came in."""
        return read_jsonl(self.folder / "judgments.jsonl")

    @property
    def record(self) -> Mapping[str, Any]:
        """What `scores.json` says; empty where there is none."""
        path = self.folder / "scores.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    @property
    def is_imported(self) -> bool:
        """Whether the judgments came from somebody's files, in which every row counts."""
        return "imported" in self.record.get("about", {})

    @property
    def answers(self) -> Path:
        """The file with the answers of the match's model."""
        above = self.folder.parent if self.match.opponent is None else self.folder.parent.parent
        return above / "answers.jsonl"


def judged_in(run: Run, *, benchmark: str | None) -> list[Judged]:
    """Every match that was judged, models in the order of the recipe, alone before opponents.

    UsageError where there is none, or none of `benchmark`.
    """
    root = run.stage("eval").path
    found = [
        _judged(path.parent, path.parent.relative_to(root).parts)
        for path in sorted(root.glob("*/*/**/judgments.jsonl"))
    ]
    known = list(dict.fromkeys(item.benchmark for item in found))
    if benchmark is not None and benchmark not in known:
        raise UsageError(
            f"run '{run.name}' has no judgments of '{benchmark}'{did_you_mean(benchmark, known)}",
            where=str(root),
            hint=f"judged are: {', '.join(known)}" if known else "zephyrctl eval --help",
        )
    if not found:
        raise UsageError(
            f"run '{run.name}' has no judgments", where=str(root), hint="zephyrctl eval --help"
        )
    order = _order(run)
    kept = [item for item in found if benchmark in (None, item.benchmark)]
    return sorted(kept, key=lambda item: _rank(item, order))


def _judged(folder: Path, parts: Sequence[str]) -> Judged:
    """`parts` are the folders below `eval/`: benchmark, model, judge, and perhaps the opponent."""
    opponent = parts[3].removeprefix(_AGAINST) if len(parts) > 3 else None
    return Judged(parts[0], Match(parts[1], opponent), folder)


def _order(run: Run) -> list[str]:
    return list(run.recipe().eval.models)


def _rank(item: Judged, order: Sequence[str]) -> tuple[Any, ...]:
    model = item.match.model
    place = order.index(model) if model in order else len(order)
    return (item.benchmark, item.match.opponent is not None, place, model, item.folder.as_posix())
