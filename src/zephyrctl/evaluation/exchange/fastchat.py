"""How do MT-Bench's rows of ours become FastChat's, and FastChat's ours?

Layout and fields of lm-sys/FastChat 0e6d3e4, fastchat/llm_judge: in the folder it is started in,
`data/<benchmark>/model_answer/<model>.jsonl` with one choice a repeat, and
`data/<benchmark>/model_judgment/<judge>_single.jsonl` and `<judge>_pair.jsonl`, one file a judge
for all models. Rows are written as it writes them: ASCII, one line each.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from zephyrctl.errors import DataError
from zephyrctl.evaluation.benchmark import QuestionId
from zephyrctl.evaluation.exchange.standing import Judged, Row
from zephyrctl.evaluation.mt_bench.games import whole
from zephyrctl.evaluation.repairs import is_repair
from zephyrctl.evaluation.verdicts import UNPARSED, in_range
from zephyrctl.runs.atomic import read_jsonl
from zephyrctl.runs.digests import digest_json
from zephyrctl.runs.references import safe_name

_FOLDERS = {"mt-bench": "mt_bench"}
"""Upstream's names of benchmarks; one of one's own keeps its name."""

_SINGLE = (
    "question_id", "model", "judge", "user_prompt", "judgment", "score", "turn", "tstamp",
    "user_prompt_sha256",
)  # fmt: skip
_PAIR = (
    "question_id", "model_1", "model_2", "g1_winner", "g2_winner", "judge", "g1_user_prompt",
    "g1_judgment", "g2_user_prompt", "g2_judgment", "turn", "tstamp", "g1_user_prompt_sha256",
    "g2_user_prompt_sha256",
)  # fmt: skip


def holds(benchmark: str) -> bool:
    """Whether a benchmark's judgments are FastChat's: MT-Bench's, and `own…`."""
    return benchmark == "mt-bench" or is_own(benchmark)


def is_own(name: str) -> bool:
    """Whether this names a benchmark of the user's own: `own`, or `own-<question file>`."""
    return name == "own" or name.startswith("own-")


def files_of(judged: Sequence[Judged]) -> tuple[dict[str, str], list[str]]:
    """The files of a FastChat folder by their path in it, and what has to be said of them."""
    texts: dict[str, list[str]] = defaultdict(list)
    notices = []
    for item in judged:
        folder = f"data/{_FOLDERS.get(item.benchmark, item.benchmark)}"
        rows = item.rows
        repairs = sum(map(is_repair, rows))
        if repairs:
            notices.append(
                f"{item.match.label}: {repairs} repaired judgments are left out; FastChat asks a "
                "judge once"
            )
        kept = [row for row in rows if not is_repair(row)]
        if not item.is_imported:
            kept = _last_of_each(kept)
        kind, lines = _judgments(kept, is_pair=item.match.opponent is not None)
        for judge, line in lines:
            texts[f"{folder}/model_judgment/{safe_name(judge)}_{kind}.jsonl"].append(line)
    for root in dict.fromkeys(item.answers.parent.parent for item in judged):
        for path in sorted(root.glob("*/answers.jsonl")):
            model = path.parent.name
            folder = _FOLDERS.get(root.name, root.name)
            name = f"data/{folder}/model_answer/{model}.jsonl"
            texts[name] += _answers(path, model=model)
    return {name: "".join(lines) for name, lines in texts.items() if lines}, notices


def imported_ratings(rows: Iterable[Row], categories: Mapping[QuestionId, str]) -> list[Row]:
    """FastChat's ratings with the fields that ours have beside them."""
    found = []
    for row in rows:
        score = row["score"]
        rating = None if score == UNPARSED or not in_range(score) else score
        mine = {**row, "rating": row.get("rating", rating)}
        if "judgment" not in row:
            mine |= {"judgment": "", "without_text": True}
        found.append(_completed(mine, categories))
    return found


def imported_pairs(rows: Iterable[Row], categories: Mapping[QuestionId, str]) -> list[Row]:
    """FastChat's rows of pairs with the fields that ours have beside them."""
    return [_completed(row, categories) for row in rows]


def imported_answers(path: Path) -> list[Row]:
    """The answers of a `model_answer` file as ours, one row a turn and repeat; DataError with the
    row that is none."""
    found = []
    for number, row in enumerate(read_jsonl(path), start=1):
        try:
            found += _imported_answer(row)
        except (KeyError, TypeError):
            raise DataError(
                "an answer needs a question_id, a model_id and choices[].turns",
                where=f"{path}, row {number}",
            ) from None
    return found


def _imported_answer(row: Row) -> list[Row]:
    known = {name: row[name] for name in ("answer_id", "model_id", "tstamp") if name in row}
    model, question, found = row["model_id"], row["question_id"], []
    for sample, choice in enumerate(row["choices"]):
        for turn, text in enumerate(choice["turns"], start=1):
            place = {"question_id": question, "turn": turn, "sample": sample}
            key = digest_json(["imported", model, place, text])
            found.append({"key": key, "identity": "imported", **place, "answer": text, **known})
    return found


def _completed(row: Row, categories: Mapping[QuestionId, str]) -> Row:
    return {
        **row,
        "judge": row.get("judge", "unknown"),
        "category": row.get("category", categories.get(row["question_id"], "")),
        "sample": row.get("sample", 0),
        "stopped": row.get("stopped", True),
        "key": digest_json(["imported", row]),
    }


def _last_of_each(rows: Sequence[Row]) -> list[Row]:
    """Of each question, turn, repeat and order the last row: the others belong to answers that
    the model no longer gives."""
    last = {
        (row["question_id"], row["turn"], row.get("sample", 0), "g1_winner" in row): row
        for row in rows
    }
    return list(last.values())


def _judgments(rows: Sequence[Row], *, is_pair: bool) -> tuple[str, list[tuple[str, str]]]:
    """Kind of file, and each row's judge with its line."""
    fields = _PAIR if is_pair else _SINGLE
    kept = whole(rows) if is_pair else rows
    return "pair" if is_pair else "single", [(judge_of(row), _line(row, fields)) for row in kept]


def judge_of(row: Mapping[str, Any]) -> str:
    """The judge's name; a row of FastChat has it with the name of the prompt."""
    judge = row.get("judge")
    return str(judge[0] if isinstance(judge, list) and judge else judge or "unknown")


def _line(row: Mapping[str, Any], fields: Sequence[str]) -> str:
    found = {name: row[name] for name in fields if name in row}
    if row.get("without_text"):
        found.pop("judgment", None)
    if row.get("sample"):  # FastChat has no word for a repeat; its readers pass over this one
        found["sample"] = row["sample"]
    return json.dumps(found) + "\n"


def _answers(path: Path, *, model: str) -> list[str]:
    """One line a question, with a choice for each repeat."""
    choices: dict[QuestionId, dict[int, dict[int, Row]]] = {}
    for row in read_jsonl(path):
        samples = choices.setdefault(row["question_id"], {})
        samples.setdefault(row.get("sample", 0), {})[row["turn"]] = row
    lines = []
    order = list(choices)
    if all(isinstance(question, int) for question in order):  # as upstream sorts its files
        order.sort()
    for question in order:
        samples = choices[question]
        first = samples[min(samples)]
        answer: dict[str, Any] = {
            "question_id": question,
            "answer_id": first[min(first)].get("answer_id", first[min(first)]["key"][:22]),
            "model_id": first[min(first)].get("model_id", model),
            "choices": [
                {"index": index, "turns": [turns[turn]["answer"] for turn in sorted(turns)]}
                for index, (_, turns) in enumerate(sorted(samples.items()))
            ],
        }
        if "tstamp" in first[min(first)]:
            answer["tstamp"] = first[min(first)]["tstamp"]
        lines.append(json.dumps(answer) + "\n")
    return lines
