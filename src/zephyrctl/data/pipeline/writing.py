"""How is a prepared split laid down on the disk?

`<split>.jsonl` holds the text for people, `<split>.parquet` the token ids for training, row by row
the same. Both are byte-equal whenever the rows are, however they come in portions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

from zephyrctl.data.pipeline.encoding import COLUMNS
from zephyrctl.data.pipeline.work import Stage

GROUP_ROWS = 1000
_AHEAD = 2


class SplitWriter:
    """Writes one split; use it as a context manager."""

    def __init__(self, folder: Path, *, stage: Stage, split: str) -> None:
        import pyarrow as pa

        names = COLUMNS[stage]
        self._schema = pa.schema({"id": pa.string(), **{name: list_type(name) for name in names}})
        # Of the columns that repeat, only ids gain from a dictionary; for the mask it costs time.
        self._dictionary: Any = [f"{name}.list.element" for name in names if name.endswith("_ids")]
        self._waiting: list[Any] = []
        self._rows = 0
        self.asked = 0
        """Characters of text that were handed over, whether or not the disk took them."""
        self._folder = folder
        self._split = split
        self._text: IO[str] | None = None
        self._tokens: Any = None
        # Packing goes on beside the reading of the next rows; one thread keeps their order.
        self._thread = ThreadPoolExecutor(1)
        self._writing: list[Future[None]] = []

    def __enter__(self) -> SplitWriter:
        import pyarrow.parquet as pq

        path = self._folder / f"{self._split}.jsonl"
        self._text = path.open("w", encoding="utf-8", newline="\n")
        self._tokens = pq.ParquetWriter(
            self._folder / f"{self._split}.parquet",
            self._schema,
            compression="zstd",
            use_dictionary=self._dictionary,
        )
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            self._flush(at_least=1)
            self._wait(0)
        finally:
            self._thread.shutdown()
            self._tokens.close()
            if self._text is not None:
                self._text.close()

    def add_text(self, lines: Iterable[str]) -> None:
        """Append lines of JSON, each with its end."""
        assert self._text is not None
        text = "".join(lines)
        self.asked += len(text)
        self._text.write(text)

    def add_tokens(self, ids: Any, columns: Mapping[str, Sequence[Any]]) -> None:
        """Append rows: their ids as an Arrow array, and one array a row for each column."""
        import pyarrow as pa

        arrays = [list_array(name, values) for name, values in columns.items()]
        self._waiting.append(pa.table([ids, *arrays], schema=self._schema))
        self._rows += len(ids)
        self._flush(at_least=GROUP_ROWS)

    def _flush(self, *, at_least: int) -> None:
        """Write groups of exactly GROUP_ROWS rows while so many wait; at the end the rest."""
        import pyarrow as pa

        while self._rows >= at_least:
            table = pa.concat_tables(self._waiting)
            group, rest = table.slice(0, GROUP_ROWS), table.slice(GROUP_ROWS)
            self._wait(_AHEAD)
            self._writing.append(self._thread.submit(self._tokens.write_table, group))
            self._waiting, self._rows = [rest], rest.num_rows

    def _wait(self, most: int) -> None:
        """Wait until at most so many groups are being written; raises what went wrong there."""
        while len(self._writing) > most:
            self._writing.pop(0).result()


def list_type(name: str) -> Any:
    """The type of a column of token ids, or of the mask."""
    import pyarrow as pa

    return pa.list_(pa.int8() if name == "assistant_mask" else pa.int32())


def list_array(name: str, rows: Sequence[Any]) -> Any:
    """A list column out of one array a row."""
    import numpy as np
    import pyarrow as pa

    kind = list_type(name)
    ends = np.cumsum([0, *(len(row) for row in rows)], dtype=np.int32)
    values = np.concatenate(rows) if rows else np.zeros(0)
    flat = pa.array(values.astype(kind.value_type.to_pandas_dtype(), copy=False))
    return pa.ListArray.from_arrays(pa.array(ends), flat, type=kind)
