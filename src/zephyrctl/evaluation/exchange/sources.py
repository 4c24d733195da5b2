"""Which results of other tools lie in a folder or file?

Read are FastChat's judgments (single ratings and pairs, several models and judges in a file, rows
with or without their long texts) with the answers beside them, and AlpacaEval's annotations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from zephyrctl.errors import DataError, UsageError
from zephyrctl.evaluation.alpaca_eval.formats import read_rows as read_annotations
from zephyrctl.evaluation.exchange.standing import Row
from zephyrctl.evaluation.mt_bench.formats import Question, read_questions
from zephyrctl.evaluation.mt_bench.stored import read_rows
from zephyrctl.runs.digests import digest_file

Format = Literal["fastchat", "alpaca_eval"]
_VERSUS = "_vs_"


@dataclass(frozen=True)
class Annotations:
    """AlpacaEval's annotations of one model by one annotator."""

    model: str
    opponent: str | None
    rows: list[Row]
    where: str


@dataclass(frozen=True)
class Judgments:
    """FastChat's judgments on one benchmark; `folder` is its name under `data/`, or empty."""

    folder: str
    rows: list[Row]
    answers: list[Path]
    questions: list[Question]


@dataclass(frozen=True)
class Found:
    """What was read. `files` has the SHA-256 of each file by its path in the source."""

    format: Format
    files: dict[str, str]
    judgments: list[Judgments] = field(default_factory=list)
    annotations: list[Annotations] = field(default_factory=list)


def read_source(source: Path, *, wanted: Format | None) -> Found:
    """Everything in `source`; `wanted` None finds out its format.

    UsageError where there is nothing of the kind, DataError for a row that is none.
    """
    if not source.exists():
        raise UsageError(f"there is no {source}", hint="zephyrctl eval import DIR --run NAME")
    kind = wanted or _format_of(source)
    found = _fastchat(source) if kind == "fastchat" else _alpaca_eval(source)
    if not found.files:
        raise UsageError(
            f"no {'judgments of FastChat' if kind == 'fastchat' else 'annotations of AlpacaEval'}",
            where=str(source),
            hint="--format fastchat reads model_judgment/*.jsonl, --format alpaca_eval reads "
            "annotations.json",
        )
    return found


def _format_of(source: Path) -> Format:
    if source.is_dir():
        kinds: list[Format] = []
        if _judgment_files(source):
            kinds.append("fastchat")
        if list(source.glob("**/annotations.json")):
            kinds.append("alpaca_eval")
        if len(kinds) == 2:
            raise UsageError(
                "the folder holds results of both FastChat and AlpacaEval",
                where=str(source),
                hint="--format fastchat, or --format alpaca_eval",
            )
        return kinds[0] if kinds else "fastchat"
    rows = read_annotations(source)
    return "alpaca_eval" if rows and "preference" in rows[0] else "fastchat"


def _fastchat(source: Path) -> Found:
    if not source.is_dir():
        return Found(
            "fastchat", _digests(source, [source]), [Judgments("", _rows([source]), [], [])]
        )
    by_folder: dict[Path, list[Path]] = {}
    for path in _judgment_files(source):
        inside = path.parent.name == "model_judgment"
        by_folder.setdefault(path.parents[1] if inside else path.parent, []).append(path)
    files: list[Path] = []
    found = []
    for folder, judged in by_folder.items():
        answers = sorted(folder.glob("model_answer/*.jsonl"))
        asked = sorted(folder.glob("question.jsonl"))
        files += [*judged, *answers, *asked]
        questions = [question for path in asked for question in read_questions(path)]
        name = "" if folder == source else folder.name
        found.append(Judgments(name, _rows(judged), answers, questions))
    return Found("fastchat", _digests(source, files), judgments=found)


def _rows(files: Sequence[Path]) -> list[Row]:
    return [row for path in files for row in read_rows(path)]


def _alpaca_eval(source: Path) -> Found:
    files = sorted(source.glob("**/annotations.json")) if source.is_dir() else [source]
    found = []
    for path in files:
        rows = read_annotations(path)
        if not rows:
            raise DataError("no annotation", where=str(path))
        found.append(_annotated(path, rows, source=source))
    return Found("alpaca_eval", _digests(source, files), annotations=found)


def _annotated(path: Path, rows: Sequence[Row], *, source: Path) -> Annotations:
    named = {row.get("generator_2") for row in rows} - {None}
    if len(named) > 1:
        raise DataError(
            f"annotations of several models: {', '.join(sorted(map(str, named)))}",
            where=str(path),
            hint="one file for each model",
        )
    beside = path.parent.parent.name if path.name == "annotations.json" else path.stem
    model = str(next(iter(named), beside))
    versus = path.parent.name.rpartition(_VERSUS)[2] if _VERSUS in path.parent.name else None
    return Annotations(model, versus, list(rows), str(path))


def _judgment_files(source: Path) -> list[Path]:
    inside = sorted(source.glob("**/model_judgment/*.jsonl"))
    return inside or sorted([*source.glob("*_single.jsonl"), *source.glob("*_pair.jsonl")])


def _digests(source: Path, files: Sequence[Path]) -> dict[str, str]:
    base = source if source.is_dir() else source.parent
    return {path.relative_to(base).as_posix(): digest_file(path) for path in files}
