"""How is a prepared split laid down on the disk?

`<split>.jsonl` holds the text for people, `<split>.parquet` the token ids for training, row by row
the same. Both are byte-equal whenever the rows are.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO, Any, Literal

from zephyrctl.data.batches import Taken
from zephyrctl.data.messages import Dialogue, Record, to_json
from zephyrctl.data.tokens import Encoded

GROUP_ROWS = 1000


class SplitWriter:
    """Writes one split; use it as a context manager."""

    def __init__(self, folder: Path, *, stage: Literal["sft", "dpo"], split: str) -> None:
        import pyarrow as pa

        ids, mask = pa.list_(pa.int32()), pa.list_(pa.int8())
        columns = (
            {"input_ids": ids, "assistant_mask": mask}
            if stage == "sft"
            else {"prompt_ids": ids, "chosen_ids": ids, "rejected_ids": ids}
        )
        self._schema = pa.schema({"id": pa.string(), **columns})
        self._rows: list[dict[str, Any]] = []
        self._folder = folder
        self._split = split
        self._text: IO[str] | None = None
        self._tokens: Any = None

    def __enter__(self) -> SplitWriter:
        import pyarrow.parquet as pq

        path = self._folder / f"{self._split}.jsonl"
        self._text = path.open("w", encoding="utf-8", newline="\n")
        self._tokens = pq.ParquetWriter(
            self._folder / f"{self._split}.parquet", self._schema, compression="zstd"
        )
        return self

    def __exit__(self, *exception: object) -> None:
        self._flush()
        self._tokens.close()
        if self._text is not None:
            self._text.close()

    def add(self, taken: Taken) -> None:
        """Append one row."""
        assert self._text is not None
        line = json.dumps(text_row(taken.record), ensure_ascii=False, separators=(",", ":"))
        self._text.write(line + "\n")
        self._rows.append({"id": taken.record.id, **_token_row(taken)})
        if len(self._rows) >= GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._rows:
            self._tokens.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
            self._rows.clear()


def text_row(record: Record) -> dict[str, Any]:
    """A record as a line of the text file."""
    if isinstance(record, Dialogue):
        return {
            "id": record.id,
            "source": record.source,
            "messages": to_json(record.messages),
        }
    return {
        "id": record.id,
        "source": record.source,
        "prompt": to_json(record.prompt),
        "chosen": to_json(record.chosen),
        "rejected": to_json(record.rejected),
        "chosen_score": record.chosen_score,
        "rejected_score": record.rejected_score,
    }


def _token_row(taken: Taken) -> dict[str, list[int]]:
    tokens = taken.encoded
    if isinstance(tokens, Encoded):
        return {"input_ids": tokens.input_ids, "assistant_mask": tokens.assistant_mask}
    return {
        "prompt_ids": tokens.prompt_ids,
        "chosen_ids": tokens.chosen_ids,
        "rejected_ids": tokens.rejected_ids,
    }
