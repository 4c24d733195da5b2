"""Which rows does a source hold, one after another, and where does each stand?

Local JSONL, JSON (a list of objects, or lines), CSV and Parquet, also packed with gzip, bzip2 or
xz; a folder of such files; a data set of the Hub. A line that is no JSON object is an error with
file and line, unless the source says `on_bad_line: drop`; then it is a counted drop.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import json
import lzma
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from zephyrctl.config.paths import DATA_SUFFIXES, is_local
from zephyrctl.config.schema.data import Source
from zephyrctl.errors import DataError

MAX_LINE_BYTES = 16 * 2**20
"""A longer line is taken for damage: no conversation has it, and memory should not decide."""

_OPENERS = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row and its place; `problem` says why there is no `value`."""

    place: str
    value: dict[str, Any] | None
    problem: str = ""


def local_files(source: Source) -> list[Path]:
    """The files of a local source in a fixed order; empty for a Hub data set."""
    if not is_local(source.path):
        return []
    path = Path(source.path).expanduser()
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.name.lower().endswith(DATA_SUFFIXES))
        if not found:
            raise DataError(
                "the folder holds no data file", where=str(path),
                hint=f"data files end with {', '.join(DATA_SUFFIXES[::5])}",
            )  # fmt: skip
        return found
    if not path.exists():
        raise DataError("there is no such file", where=str(path), hint=f"ls {path.parent}")
    if not path.name.lower().endswith(DATA_SUFFIXES):
        raise DataError(
            "the file's suffix says nothing about its format", where=str(path),
            hint="rename it to .jsonl, .json, .csv or .parquet, with .gz, .bz2 or .xz if packed",
        )  # fmt: skip
    if not path.is_file():
        raise DataError("this is not a regular file", where=str(path))
    return [path]


def read(source: Source) -> Iterator[RawRow]:
    """The rows of a source in their order; the same on every call."""
    files = local_files(source)
    if not files:
        yield from _read_hub(source)
        return
    for path in files:
        for row in read_file(path):
            if row.value is None and source.on_bad_line == "error":
                raise DataError(
                    row.problem, where=row.place,
                    hint="repair the line, or set `on_bad_line: drop` at this source",
                )  # fmt: skip
            yield row


def read_file(path: Path) -> Iterator[RawRow]:
    """The rows of one local file; DataError where the file as a whole cannot be read."""
    kind, packing = _kind(path)
    try:
        if kind == ".parquet":
            yield from _read_parquet(path)
        elif kind == ".csv":
            yield from _read_csv(path, packing)
        elif kind == ".json" and _is_list(path, packing):
            yield from _read_json(path, packing)
        else:
            yield from _read_lines(path, packing)
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8: {error.reason}", where=str(path), hint=_iconv(path)) from error
    except (gzip.BadGzipFile, lzma.LZMAError, zlib.error, EOFError) as error:
        raise DataError(
            f"the packed file is damaged: {error}", where=str(path), hint=f"fetch {path.name} again"
        ) from error
    except OSError as error:
        raise DataError(
            f"the file cannot be read: {error.strerror or error}", where=str(path),
            hint=f"ls -l {path}",
        ) from error  # fmt: skip


def _kind(path: Path) -> tuple[str, str]:
    name = path.name.lower()
    packing = next((suffix for suffix in (*_OPENERS, ".zst") if name.endswith(suffix)), "")
    kind = Path(name.removesuffix(packing)).suffix
    if packing == ".zst":
        raise DataError("zstd files are not read directly", where=str(path), hint=f"zstd -d {path}")
    if kind == ".parquet" and packing:
        raise DataError(
            "a Parquet file is packed inside already", where=str(path), hint=f"gunzip {path}"
        )
    return kind, packing


def _open(path: Path, packing: str) -> IO[bytes]:
    return cast("IO[bytes]", _OPENERS[packing](path, "rb")) if packing else path.open("rb")


def _read_lines(path: Path, packing: str) -> Iterator[RawRow]:
    with _open(path, packing) as stream:
        number = 0
        while line := stream.readline(MAX_LINE_BYTES + 1):
            number += 1
            place = f"{path}:{number}"
            if len(line) > MAX_LINE_BYTES:
                while line and not line.endswith(b"\n"):
                    line = stream.readline(MAX_LINE_BYTES)
                yield RawRow(place, None, f"the line is longer than {MAX_LINE_BYTES >> 20} MiB")
                continue
            if number == 1:
                _refuse_utf16(line, path)
                line = line.removeprefix(_BOM)
            if line.strip():
                yield _parse(line, place)


def _parse(line: bytes, place: str) -> RawRow:
    try:
        value = json.loads(line.decode("utf-8"), object_pairs_hook=_unique)
    except UnicodeDecodeError as error:
        return RawRow(place, None, f"not UTF-8: byte {error.start + 1} of the line")
    except json.JSONDecodeError as error:
        return RawRow(f"{place}:{error.colno}", None, f"not JSON: {error.msg}")
    except RecursionError:
        return RawRow(place, None, "not JSON: nested too deeply")
    except _DuplicateKey as error:
        return RawRow(place, None, f"the key '{error}' stands twice")
    if not isinstance(value, dict):
        return RawRow(place, None, "not a JSON object")
    return RawRow(place, value)


class _DuplicateKey(Exception):
    """A JSON object names a key twice; which value counts would be a guess."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _DuplicateKey(next(key for key in keys if keys.count(key) > 1))
    return value


def _refuse_utf16(start: bytes, path: Path) -> None:
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError("the file is in UTF-16", where=f"{path}:1", hint=_iconv(path, "UTF-16"))


def _iconv(path: Path, encoding: str = "LATIN1") -> str:
    return f"iconv -f {encoding} -t UTF-8 {path} > {path.with_suffix('.utf8' + path.suffix)}"


def _is_list(path: Path, packing: str) -> bool:
    """Whether a `.json` file holds one list (read whole) rather than an object per line."""
    with _open(path, packing) as stream:
        start = stream.read(4096)
    _refuse_utf16(start, path)
    return start.removeprefix(_BOM).lstrip().startswith(b"[")


def _read_json(path: Path, packing: str) -> Iterator[RawRow]:
    with _open(path, packing) as stream:
        content = stream.read()
    try:
        rows = json.loads(content.decode("utf-8-sig"), object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise DataError(
            f"not JSON: {error.msg}", where=f"{path}:{error.lineno}:{error.colno}",
            hint=f"python -m json.tool {path}",
        ) from error  # fmt: skip
    except RecursionError as error:
        raise DataError("not JSON: nested too deeply", where=str(path)) from error
    except _DuplicateKey as error:
        raise DataError(f"the key '{error}' stands twice in an object", where=str(path)) from error
    for number, value in enumerate(rows, start=1):
        place = f"{path}#{number}"
        if isinstance(value, dict):
            yield RawRow(place, value)
        else:
            yield RawRow(place, None, "not a JSON object")


def _read_csv(path: Path, packing: str) -> Iterator[RawRow]:
    import io

    previous = csv.field_size_limit(MAX_LINE_BYTES)
    try:
        with io.TextIOWrapper(_open(path, packing), encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            header = next(reader, [])
            if len(set(header)) < len(header):
                raise DataError("a column name stands twice in the header", where=f"{path}:1")
            for fields in reader:
                place = f"{path}:{reader.line_num}"
                if not fields:
                    continue
                if len(fields) != len(header):
                    problem = f"the line has {len(fields)} fields, the header {len(header)}"
                    yield RawRow(place, None, problem)
                    continue
                yield RawRow(place, dict(zip(header, fields, strict=True)))
    except csv.Error as error:
        raise DataError(f"not CSV: {error}", where=str(path)) from error
    finally:
        csv.field_size_limit(previous)


def _read_parquet(path: Path) -> Iterator[RawRow]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        number = 0
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1000):
                for value in batch.to_pylist():
                    number += 1
                    yield RawRow(f"{path}#{number}", value)
    except pa.ArrowInvalid as error:
        raise DataError(
            f"not a Parquet file: {str(error).splitlines()[0]}", where=str(path),
            hint=f"fetch {path.name} again",
        ) from error  # fmt: skip


def _read_hub(source: Source) -> Iterator[RawRow]:
    from zephyrctl.data.hub_sources import load_hub

    name = source.path if source.config is None else f"{source.path}/{source.config}"
    for number, value in enumerate(load_hub(source), start=1):
        yield RawRow(f"{name}:{source.split}#{number}", dict(value))


def count_rows(source: Source) -> int | None:
    """Lines of uncompressed JSONL and rows of Parquet, counted cheaply; None for anything else."""
    import pyarrow.parquet as pq

    total = 0
    for path in local_files(source):
        kind, packing = _kind(path)
        if kind == ".parquet":
            try:
                total += pq.read_metadata(path).num_rows
            except (OSError, ValueError):
                return None  # reading it will say what is wrong
        elif kind == ".jsonl" and not packing:
            try:
                with path.open("rb") as stream:
                    total += sum(
                        block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b"")
                    )
            except OSError:
                return None
        else:
            return None
    return total or None
