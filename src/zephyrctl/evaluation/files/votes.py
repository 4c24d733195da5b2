"""How do people's votes on MT-Bench become rows and answers?

The Hub has them as two Parquet files, in which every vote repeats both conversations. Here they
stand as `human.jsonl` and `gpt4_pair.jsonl` (votes without texts) and, in FastChat's format of
answers, `model_answer_<model>.jsonl`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from zephyrctl.errors import DataError
from zephyrctl.runs.atomic import dumps, write_text

_VOTE = ("judge", "model_a", "model_b", "question_id", "turn", "winner")
_SPLITS = ("human", "gpt4_pair")


def unpack(folder: Path) -> None:
    """Write the JSONL files beside `human.parquet` and `gpt4_pair.parquet`, where they lack."""
    if (folder / "human.jsonl").is_file():
        return
    found = {split: _read(folder / f"{split}.parquet") for split in _SPLITS}
    for model, rows in _answers(found.values()).items():
        write_text(folder / f"model_answer_{model}.jsonl", _lines(rows))
    # The votes come last: where they stand, everything does.
    for split in reversed(_SPLITS):
        votes = ({name: row[name] for name in _VOTE} for row in found[split])
        write_text(folder / f"{split}.jsonl", _lines(votes))


def _read(path: Path) -> list[dict[str, Any]]:
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        return parquet.read_table(path).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path.name} cannot be read: {error}", where=str(path)) from None


def _answers(splits: Iterable[list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Each model's answers by question, once; the conversation of a vote holds both turns."""
    texts: dict[str, dict[int, list[str]]] = {}
    for rows in splits:
        for row in rows:
            for side in ("a", "b"):
                turns = _replies(row[f"conversation_{side}"])
                known = texts.setdefault(row[f"model_{side}"], {})
                if len(turns) > len(known.get(row["question_id"], [])):
                    known[row["question_id"]] = turns
    return {
        model: [
            {
                "question_id": question,
                "model_id": model,
                "choices": [{"index": 0, "turns": turns}],
            }
            for question, turns in sorted(answers.items())
        ]
        for model, answers in sorted(texts.items())
    }


def _replies(conversation: Iterable[Mapping[str, str]]) -> list[str]:
    return [turn["content"] for turn in conversation if turn["role"] == "assistant"]


def _lines(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(f"{dumps(row)}\n" for row in rows)
