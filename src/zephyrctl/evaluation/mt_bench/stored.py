"""Which judgments does a file hold, and were they given to the answers at hand?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from zephyrctl.errors import DataError
from zephyrctl.evaluation.benchmark import QuestionId
from zephyrctl.evaluation.mt_bench import protocol
from zephyrctl.evaluation.mt_bench.formats import (
    REFERENCE_FILES,
    MtBenchFiles,
    Question,
    read_mt_bench,
    read_questions,
)

Row = dict[str, Any]
Answers = Mapping[tuple[str | None, QuestionId], tuple[str, ...]]
"""The turns answered by model and question; the model is None where a file does not name it."""

_VOTES = {"model_a": "model_1", "model_b": "model_2"}


def read_rows(path: Path) -> list[Row]:
    """The judgments of a file, each checked and named as FastChat names it.

    Single ratings, pairs, and votes (`model_a`, `model_b`, `winner`), which become pairs whose
    games agree. A line torn by a kill at the file's end is left out; raises DataError for any
    other that is no judgment, and for a file without one.
    """
    rows = [_judgment(row, where) for where, row in _lines(path)]
    if not rows:
        raise DataError("the file holds no judgments", where=str(path))
    return rows


def read_answers_of(path: Path) -> dict[tuple[str | None, QuestionId], tuple[str, ...]]:
    """The answers of a file: FastChat's `model_answer` rows, or our own of one model.

    The last row counts, and of several choices the first.
    """
    found: dict[tuple[str | None, QuestionId], tuple[str, ...]] = {}
    for where, row in _lines(path):
        try:
            question: QuestionId = row["question_id"]
            if "choices" in row:
                turns = row["choices"][0]["turns"]
                found[(row.get("model_id"), question)] = tuple(str(turn) for turn in turns)
            elif row.get("sample", 0) == 0:
                earlier = found.get((None, question), ())[: row["turn"] - 1]
                found[(None, question)] = (*earlier, str(row["answer"]))
        except (KeyError, IndexError, TypeError):
            raise DataError(
                "an answer needs a question_id and choices[0].turns, or a turn and its answer",
                where=where,
            ) from None
    return found


def questions_in(folder: Path) -> list[Question]:
    """The questions in a folder of MT-Bench's files, or in its `mt_bench/`."""
    return read_questions(_folder_of(folder) / "question.jsonl")


def files_in(folder: Path) -> list[MtBenchFiles]:
    """MT-Bench's files with each set of references that the folder has."""
    found = _folder_of(folder)
    sets = [
        name
        for name, file in REFERENCE_FILES.items()
        if (found / "reference_answer" / file).is_file()
    ]
    return [read_mt_bench(found, references=name) for name in sets or ["original"]]


def given_to_others(
    rows: Sequence[Row], answers: Answers, files: Sequence[MtBenchFiles]
) -> tuple[int, list[Row]]:
    """How many judgments could be held against `answers`, and which of them were given to others.

    A judgment is held against the prompt that is rebuilt from the question, the answers and each
    set of references in `files`; the stored one may be its SHA-256 alone. Where judgments and
    answers are of one model each, that is the same one by whatever name.
    """
    judged = {row["model"] for row in rows if "model" in row}
    if len(judged) == 1 and len({model for model, _ in answers}) == 1:
        answers = {(None, question): turns for (_, question), turns in answers.items()}
    compared, others = 0, []
    questions = {question.question_id: question for question in files[0].questions}
    for row in rows:
        question = questions.get(row["question_id"])
        if question is None or "repairs" in row:
            continue
        for field, wanted in _prompts(row, question, answers, files):
            stored = _stored(row, field)
            if stored is None or not wanted:
                continue
            compared += 1
            if stored not in wanted:
                others.append(row)
                break
    return compared, others


def _folder_of(folder: Path) -> Path:
    own = folder.expanduser()
    return own if (own / "question.jsonl").is_file() else own / "mt_bench"


def _prompts(
    row: Row, question: Question, answers: Answers, files: Sequence[MtBenchFiles]
) -> Iterator[tuple[str, set[str]]]:
    """Each prompt field of a row with the digests that it may have."""
    turn = row["turn"]

    def said(model: str) -> tuple[str, ...] | None:
        place = question.question_id
        found = answers.get((model, place), answers.get((None, place)))
        return found if found is not None and len(found) >= turn else None

    if "model" in row:
        mine = said(row["model"])
        if mine is not None:
            prompts = [protocol.single_request(of, question, mine, turn=turn) for of in files]
            yield "user_prompt", {_digest(prompt.user) for prompt in prompts}
        return
    if (None, question.question_id) in answers:  # whose answers they are is not known
        return
    first, second = said(row["model_1"]), said(row["model_2"])
    if first is None or second is None:
        return
    for order in (1, 2):
        prompts = [
            protocol.pair_request(of, question, (first, second), turn=turn, order=order)
            for of in files
        ]
        yield f"g{order}_user_prompt", {_digest(prompt.user) for prompt in prompts}


def _stored(row: Row, field: str) -> str | None:
    if field in row:
        return _digest(str(row[field]))
    return row.get(f"{field}_sha256")


def _judgment(row: Row, where: str) -> Row:
    question, turn = row.get("question_id"), row.get("turn")
    if not isinstance(question, int | str) or isinstance(turn, bool) or not isinstance(turn, int):
        raise DataError("a judgment needs a 'question_id' and a 'turn', a number", where=where)
    for name in ("model", "model_1", "model_2"):
        if name in row and not isinstance(row[name], str):
            raise DataError(f"a judgment needs a '{name}', a text", where=where)
    if "model" in row:
        score = row.get("score")
        if isinstance(score, bool) or not isinstance(score, int | float):
            raise DataError("a rating needs a 'score', a number", where=where)
        return row
    if "model_1" in row and "model_2" in row:
        return row
    if not {"model_a", "model_b", "winner"} <= set(row):
        raise DataError(
            "a judgment names its 'model', or 'model_1' and 'model_2'",
            where=where,
            hint="such a row is in FastChat's data/mt_bench/model_judgment/",
        )
    winner = str(row["winner"])
    named = _VOTES.get(winner, "tie" if winner.startswith("tie") else "error")
    both = {"g1_winner": named, "g2_winner": named}
    return {**row, "model_1": row["model_a"], "model_2": row["model_b"], **both}


def _lines(path: Path) -> Iterator[tuple[str, Row]]:
    try:
        lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except OSError as error:
        raise DataError(f"cannot read {path.name}: {error.strerror}", where=str(path)) from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            if number == len(lines):  # a kill tore it, and nothing was appended since
                return
            raise DataError(f"not a line of JSON: {error}", where=f"{path}:{number}") from None
        if not isinstance(row, dict):
            raise DataError("a line must hold one JSON object", where=f"{path}:{number}")
        yield f"{path}:{number}", row


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()
