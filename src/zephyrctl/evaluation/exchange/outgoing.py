"""How are a run's results written for other tools? (`zephyrctl eval export`)"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from zephyrctl.errors import EnvironmentProblem, UsageError
from zephyrctl.evaluation.exchange import alpaca, fastchat
from zephyrctl.evaluation.exchange.standing import Judged, judged_in
from zephyrctl.runs.atomic import dumps, staged_directory, write_text
from zephyrctl.runs.store import Run
from zephyrctl.runs.summary import SCORE_KEYS

Format = Literal["fastchat", "alpaca_eval", "json", "csv"]
_HOLDS: dict[str, Callable[[str], bool]] = {
    "fastchat": fastchat.holds,
    "alpaca_eval": alpaca.holds,
}


@dataclass(frozen=True)
class Exported:
    """The files that were written, below `folder`."""

    folder: Path
    files: tuple[str, ...]
    notices: tuple[str, ...]


def export(run: Run, target: Path, *, form: Format, benchmark: str | None) -> Exported:
    """Write the judgments or scores of a run into a new or empty folder, all of it or nothing.

    UsageError where the run has nothing that the format can hold.
    """
    if target.resolve() == Path.cwd():  # the folder is replaced, and its user would be left in none
        raise UsageError("the folder of the export is the one you are in", hint="--to ./exported")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} is not empty", hint="--to ANOTHER_FOLDER")
    judged = judged_in(run, benchmark=benchmark)
    if form in _HOLDS:
        kept = [item for item in judged if _HOLDS[form](item.benchmark)]
        if not kept:
            raise UsageError(
                f"run '{run.name}' has no judgments that --format {form} can hold",
                where=", ".join(dict.fromkeys(item.benchmark for item in judged)),
                hint="--format json or --format csv",
            )
        writer: Callable[[Sequence[Judged]], tuple[dict[str, str], list[str]]]
        writer = fastchat.files_of if form == "fastchat" else alpaca.files_of
        files, notices = writer(kept)
    else:
        files, notices = {f"scores.{form}": _SCORES[form](run, judged)}, []
    try:
        with staged_directory(target) as staged:
            for name, text in files.items():
                write_text(staged / name, text)
    except (PermissionError, NotADirectoryError, FileExistsError) as error:
        raise EnvironmentProblem(
            f"the folder cannot be written: {error.strerror}",
            where=str(target),
            hint="--to ANOTHER_FOLDER",
        ) from None
    return Exported(target, tuple(files), tuple(notices))


def _json(run: Run, judged: Sequence[Judged]) -> str:
    """Every `scores.json` in one document, with the comparisons of the benchmarks."""
    results = [
        {"benchmark": item.benchmark, "model": item.match.model, "opponent": item.match.opponent}
        | dict(item.record)
        for item in judged
    ]
    comparisons = [
        entry
        for name in dict.fromkeys(item.benchmark for item in judged)
        for entry in _comparisons(run, name)
    ]
    document = {"run": run.name, "results": results, "comparisons": comparisons}
    return dumps(document, indent=2) + "\n"


def _comparisons(run: Run, benchmark: str) -> list[dict[str, Any]]:
    path = run.stage("eval").path / benchmark / "comparisons.json"
    if not path.is_file():
        return []
    return json.loads(path.read_text(encoding="utf-8"))["comparisons"]


def _csv(run: Run, judged: Sequence[Judged]) -> str:
    """One row a score; what is unknown is empty."""
    stream = io.StringIO()
    columns = ("run", *SCORE_KEYS, "opponent")
    writer = csv.DictWriter(stream, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for item in judged:
        for score in item.record.get("scores", ()):
            writer.writerow({**score, "run": run.name, "opponent": item.match.opponent})
    return stream.getvalue()


_SCORES: dict[str, Callable[[Run, Sequence[Judged]], str]] = {"json": _json, "csv": _csv}
