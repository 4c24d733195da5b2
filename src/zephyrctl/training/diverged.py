"""Which prepared rows stood in the step that broke training?

The trainer writes the token sequences of the passes at fault; they are looked up among the prepared
rows by content, so that no layout of batches has to be undone.
"""

import json
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from datasets import Dataset

from zephyrctl.data.load import Stage, load_split
from zephyrctl.errors import quoted
from zephyrctl.runs.atomic import write_json
from zephyrctl.runs.store import Run

_FEWEST = 16
"""Tokens of a piece of a dialogue that may be looked for inside others; shorter ones are alike."""
_SHOWN, _SHORT = 3, 12


def sequences(inputs: Mapping[str, Any]) -> list[list[int]]:
    """The token sequences of a batch without padding; documents that share a row are apart where
    the batch says where they begin."""
    ids = inputs["input_ids"].tolist()  # (B, T)
    mask = inputs.get("attention_mask")
    if mask is not None:
        rows = zip(ids, mask.tolist(), strict=True)
        return [[token for token, real in zip(*row, strict=True) if real] for row in rows]
    positions = inputs.get("position_ids")
    if positions is None:
        return ids
    found: list[list[int]] = []
    for row, places in zip(ids, positions.tolist(), strict=True):
        for token, place in zip(row, places, strict=True):
            if place == 0 or not found:
                found.append([])
            found[-1].append(token)
    return found


def describe(path: str | None, run: Run, tokenizer: Any, *, stage: str) -> str:
    """How to look at the rows of the sequences recorded at `path`; empty where that is no record.

    The rows are added to the record: `{"index", "id"}`, `index` as `zephyrctl data inspect` counts.
    """
    if path is None or not path.endswith(".json"):
        return ""
    name = cast(Stage, stage)
    rows = _name_rows(Path(path), run, stage=name, bos=tokenizer.bos_token_id)
    if not rows:
        return ""
    ids = ", ".join(str(row["id"])[:_SHORT] for row in rows[:_SHOWN])
    more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
    config = quoted(run.root / "config.yaml")
    command = f"zephyrctl data inspect -c {config} --stage {stage} --index {rows[0]['index']}"
    return f"its rows are {ids}{more}: {command}"


def keep_step(path: Path, rows: Dataset, tokenizer: Any, *, step: int, loss: float) -> Path:
    """Write down the examples of a step, as token ids and as text; returns the file."""
    found: list[list[int]] = []
    for row in rows:
        entry: Any = row
        if "input_ids" in entry:
            found.append(entry["input_ids"])
        else:
            prompt = entry["prompt_ids"]
            found += [prompt + entry[side] for side in ("chosen_ids", "rejected_ids")]
    texts = [tokenizer.decode(ids) for ids in found]
    write_json(path, {"step": step, "loss": loss, "texts": texts, "sequences": found})
    return path


def _name_rows(path: Path, run: Run, *, stage: Stage, bos: int | None) -> list[dict[str, Any]]:
    record = json.loads(path.read_text(encoding="utf-8"))
    pieces = [_bytes(piece) for ids in record["sequences"] for piece in _cut(ids, bos)]
    whole, parts = set(pieces), [piece for piece in pieces if len(piece) >= 4 * _FEWEST]
    found = [
        {"index": index, "id": row_id}
        for index, (row_id, texts) in enumerate(_rows(load_split(run, stage, "train"), stage=stage))
        if any(text in whole or any(_shares(text, part) for part in parts) for text in texts)
    ]
    write_json(path, {"step": record["step"], "rows": found, "sequences": record["sequences"]})
    return found


def _rows(split: Dataset, *, stage: Stage) -> Iterator[tuple[str, list[bytes]]]:
    """Id of each prepared row, and the sequences that are trained of it."""
    for row in split:
        entry: Any = row
        if stage == "sft":
            yield entry["id"], [_bytes(entry["input_ids"])]
        else:
            prompt = entry["prompt_ids"]
            sides = (entry["chosen_ids"], entry["rejected_ids"])
            yield entry["id"], [_bytes(prompt + completion) for completion in sides]


def _cut(ids: list[int], bos: int | None) -> Iterator[list[int]]:
    """A packed row at each BOS, where dialogues begin that were joined without a mark."""
    starts = [place for place, token in enumerate(ids) if token == bos and place]
    for start, end in zip([0, *starts], [*starts, len(ids)], strict=True):
        yield ids[start:end]


def _shares(text: bytes, piece: bytes) -> bool:
    """Whether one holds the other, at a whole number of tokens."""
    short, long = sorted((text, piece), key=len)
    place = long.find(short)
    while place >= 0 and place % 4:
        place = long.find(short, place + 1)
    return place >= 0 and len(short) >= 4 * _FEWEST


def _bytes(ids: list[int]) -> bytes:
    return array("i", ids).tobytes()
