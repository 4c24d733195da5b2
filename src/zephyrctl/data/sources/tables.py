"""Which rows stand in a table: CSV, Parquet, Arrow?"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from zephyrctl.data.sources.files import BOM, iconv, open_file, refuse_utf16
from zephyrctl.data.sources.rows import MAX_LINE_BYTES, TOO_LONG, Parsed
from zephyrctl.errors import DataError, quoted

BATCH_ROWS = 1024
_NOT_TEXT = "not UTF-8: a text of the row"
_NOT_JSON = "not JSON: a text in a column of JSON"


def csv_rows(path: Path, *, delimiter: str = ",") -> Iterator[Parsed]:
    """The number of the line on which each row ends, the row, and why there is none."""
    previous = csv.field_size_limit(MAX_LINE_BYTES)
    began = 0
    try:
        with open_file(path) as stream:
            reader = csv.reader(_text_lines(stream, path), delimiter=delimiter, strict=True)
            header = next(reader, [])
            if len(set(header)) < len(header):
                raise DataError("a column name stands twice in the header", where=f"{path}:1",
                                hint=f"head -n 1 {quoted(path)}")  # fmt: skip
            began = reader.line_num
            for fields in reader:
                began = reader.line_num
                if len(fields) == len(header):
                    yield began, dict(zip(header, fields, strict=True)), ""
                elif fields:
                    yield began, None, f"{len(fields)} fields where the header has {len(header)}"
    except csv.Error as error:
        line, name = began + 1, quoted(path)
        raise DataError(
            f"not CSV: {error}", where=f"{path}:{line}",
            hint=f"look for a stray quote in the row that begins there: sed -n {line}p {name}",
        ) from error  # fmt: skip
    finally:
        csv.field_size_limit(previous)


def _text_lines(stream: IO[bytes], path: Path) -> Iterator[str]:
    number = 0
    while line := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        if number == 1:
            refuse_utf16(line, path)
            line = line.removeprefix(BOM)
        if len(line) > MAX_LINE_BYTES:
            raise DataError(TOO_LONG, where=f"{path}:{number}", hint="repair the line")
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"not UTF-8: byte {error.start + 1} of the line", where=f"{path}:{number}",
                hint=iconv(path),
            ) from error  # fmt: skip


def parquet_batches(path: Path) -> Iterator[Any]:
    """The record batches of a Parquet file, in its order; their borders mean nothing."""
    import pyarrow.parquet as pq

    # Read ahead, Arrow would hold a whole row group, which some files have only one of.
    with (
        _arrow_errors(path, "Parquet"),
        pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file,
    ):
        _refuse_twice(file.schema_arrow.names, path)
        yield from file.iter_batches(batch_size=BATCH_ROWS)


def arrow_batches(path: Path) -> Iterator[Any]:
    """The record batches of an Arrow file, which may be of either kind: stream or random access."""
    import pyarrow as pa

    with _arrow_errors(path, "Arrow"), pa.memory_map(str(path)) as file:
        magic = file.read(6)
        file.seek(0)
        if magic == b"ARROW1":
            reader = pa.ipc.open_file(file)
            found = map(reader.get_batch, range(reader.num_record_batches))
        else:
            reader = pa.ipc.open_stream(file)
            found = iter(reader)
        _refuse_twice(reader.schema.names, path)
        for batch in found:
            for begin in range(0, batch.num_rows, BATCH_ROWS):
                yield batch.slice(begin, BATCH_ROWS)


@contextmanager
def _arrow_errors(path: Path, kind: str) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the file cannot be read, whatever is in it
        raise DataError(
            f"not a sound {kind} file: {str(error).splitlines()[0]}", where=str(path),
            hint=f"fetch {path.name} again",
        ) from error  # fmt: skip


def _refuse_twice(names: list[str], path: Path) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"the column '{twice}' stands twice", where=str(path),
                        hint="write the file again with each column once")  # fmt: skip


def pack(batch: Any) -> bytes:
    """A record batch as an IPC stream; the same rows give the same bytes wherever they stood."""
    import pyarrow as pa

    # Taking the rows writes fresh buffers: a slice would carry bits of its neighbours.
    fresh = batch.take(pa.array(range(batch.num_rows), pa.int64()))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, fresh.schema) as writer:
        writer.write_batch(fresh)
    return sink.getvalue().to_pybytes()


def plain(batch: Any) -> Any:
    """The batch without metadata and dictionary encoding, which differ from file to file."""
    import pyarrow as pa

    columns = [
        column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def bad_rows(batch: Any) -> set[int]:
    """The positions of rows that `unpack` would give a problem."""
    import pyarrow as pa

    try:
        batch.validate(full=True)
    except pa.ArrowInvalid:
        pass
    else:
        if not _json_columns(batch.schema):
            return set()
    return {i for i, (value, _) in enumerate(_values(batch)) if value is None}


def unpack(payload: bytes) -> list[tuple[dict[str, Any] | None, str]]:
    """The rows of an IPC stream; one with a text that cannot be read has a problem instead."""
    import pyarrow as pa

    with pa.ipc.open_stream(payload) as reader:
        return _values(reader.read_all())


def _values(table: Any) -> list[tuple[dict[str, Any] | None, str]]:
    columns = _json_columns(table.schema)
    try:
        values = table.to_pylist()
    except UnicodeDecodeError:
        return [_one(table, position, columns) for position in range(table.num_rows)]
    if not columns:
        return [(value, "") for value in values]
    return [_with_json(value, columns) for value in values]


def _one(table: Any, position: int, columns: _Columns) -> tuple[dict[str, Any] | None, str]:
    try:
        value = table.slice(position, 1).to_pylist()[0]
    except UnicodeDecodeError:
        return None, _NOT_TEXT
    return _with_json(value, columns)


_Columns = dict[str, Callable[[Any], Any]]


def _with_json(row: dict[str, Any], columns: _Columns) -> tuple[dict[str, Any] | None, str]:
    try:
        return row | {name: parse(row[name]) for name, parse in columns.items()}, ""
    except (ValueError, RecursionError):
        return None, _NOT_JSON


def _json_columns(schema: Any) -> _Columns:
    """How to read the columns that hold JSON as text; `datasets` stores mixed types that way."""
    found = {field.name: _json_reader(field.type) for field in schema}
    return {name: parse for name, parse in found.items() if parse is not None}


def _json_reader(kind: Any) -> Callable[[Any], Any] | None:
    import pyarrow as pa

    if isinstance(kind, pa.JsonType):
        return lambda value: value if value is None else json.loads(value)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        inner = _json_reader(kind.value_type)
        return inner and (lambda items: items and [inner(item) for item in items])
    if pa.types.is_struct(kind):
        parts = _json_columns(kind)
        return (
            (
                lambda value: (
                    value and value | {name: parse(value[name]) for name, parse in parts.items()}
                )
            )
            if parts
            else None
        )
    return None
