"""Reading sources: every kind of file, and what is said about a bad one."""

import bz2
import gzip
import json
import lzma
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from zephyrctl.config.schema.data import Source
from zephyrctl.data import drawing
from zephyrctl.data.sources import MAX_LINE_BYTES, count_rows, local_files, read
from zephyrctl.errors import DataError, NetworkError

ROWS: list[dict[str, Any]] = [{"id": "1", "text": "é"}, {"id": "2", "text": "zwei\nZeilen"}]


def source(path: Path, **settings: Any) -> Source:
    return Source.model_validate({"path": str(path), **settings})


def values(path: Path, **settings: Any) -> list[Any]:
    return [row.value for row in read(source(path, **settings))]


def as_lines() -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in ROWS)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.jsonl", as_lines()),
        ("rows.jsonl", b"\xef\xbb\xbf" + as_lines().replace(b"\n", b"\r\n")),
        ("rows.jsonl", as_lines().rstrip(b"\n")),
        ("rows.jsonl", b"\n" + as_lines() + b"\n\n"),
        ("rows.json", json.dumps(ROWS, indent=1).encode()),
        ("rows.json", as_lines()),
        ("rows.csv", 'id,text\r\n1,é\r\n2,"zwei\nZeilen"\r\n'.encode()),
        ("ROWS.JSONL.GZ", gzip.compress(as_lines())),
        ("rows.jsonl.bz2", bz2.compress(as_lines())),
        ("rows.csv.xz", lzma.compress('id,text\n1,é\n2,"zwei\nZeilen"\n'.encode())),
    ],
)
def test_rows_are_read_from_every_kind_of_file(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert values(path) == ROWS


def test_parquet_and_folders_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    for i, row in enumerate(ROWS):
        pq.write_table(pa.Table.from_pylist([row]), folder / f"part-{i}.parquet")
    (folder / "README.md").write_text("not data")
    assert values(folder) == ROWS
    assert count_rows(source(folder)) == 2


BAD: list[tuple[str, str, bytes, str, str]] = [
    ("truncated", "r.jsonl", b'{"a": 1}\n{"a": ', "r.jsonl:2", "not JSON"),
    ("two on a line", "r.jsonl", b'{"a": 1} {"a": 2}\n', "r.jsonl:1:10", "not JSON: Extra data"),
    ("latin-1", "r.jsonl", '{"a": "é"}\n'.encode("latin-1"), "r.jsonl:1", "not UTF-8: byte 8"),
    ("utf-16", "r.jsonl", '{"a": 1}\n'.encode("utf-16"), "r.jsonl:1", "in UTF-16"),
    ("a list", "r.jsonl", b"[1, 2]\n", "r.jsonl:1", "not a JSON object"),
    ("a number", "r.jsonl", b"5\n", "r.jsonl:1", "not a JSON object"),
    ("nested", "r.jsonl", b'{"a": ' + b"[" * 200_000 + b"\n", "r.jsonl:1", "nested too deeply"),
    ("twice", "r.jsonl", b'{"a": 1, "a": 2}\n', "r.jsonl:1", "the key 'a' stands twice"),
    ("null bytes", "r.jsonl", b"\0\0\0\n", "r.jsonl:1", "not JSON"),
    ("list cut off", "r.json", b'[{"a": 1},\n {"a": ', "r.json:2", "not JSON"),
    ("list of text", "r.json", b'["a"]', "r.json#1", "not a JSON object"),
    ("csv fields", "r.csv", b"a,b\n1,2\n3\n", "r.csv:3", "has 1 fields, the header 2"),
    ("csv quote", "r.csv", b'a,b\n"1,2\n', "r.csv", "not CSV"),
    ("csv header", "r.csv", b"a,a\n1,2\n", "r.csv:1", "stands twice in the header"),
    ("csv latin-1", "r.csv", "a\né\n".encode("latin-1"), "r.csv", "not UTF-8"),
    ("not gzip", "r.jsonl.gz", b"plain", "r.jsonl.gz", "damaged"),
    ("gzip cut", "r.jsonl.gz", gzip.compress(as_lines() * 99)[:60], "r.jsonl.gz", "damaged"),
    ("not parquet", "r.parquet", b"plain text", "r.parquet", "not a Parquet file"),
    ("packed parquet", "r.parquet.gz", b"", "r.parquet.gz", "packed inside already"),
    ("zstd", "r.jsonl.zst", b"", "r.jsonl.zst", "zstd files are not read"),
    ("text file", "r.txt", b"hello", "r.txt", "suffix says nothing"),
]


@pytest.mark.parametrize(("case", "name", "content", "where", "message"), BAD)
def test_bad_file_is_an_error_with_its_place(
    tmp_path: Path, case: str, name: str, content: bytes, where: str, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        list(read(source(path)))
    assert caught.value.where is not None
    assert where in caught.value.where, case


def test_overlong_line_is_an_error_and_the_next_line_is_still_read(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(b'{"a": "' + b"x" * MAX_LINE_BYTES + b'"}\n{"a": 1}\n')
    with pytest.raises(DataError, match="longer than 16 MiB") as caught:
        list(read(source(path)))
    assert caught.value.where == f"{path}:1"
    assert values(path, on_bad_line="drop") == [None, {"a": 1}]


def test_bad_lines_are_handed_on_where_the_source_says_drop(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(b'{"a": 1}\nnonsense\n{"a": 2}\n')
    rows = list(read(source(path, on_bad_line="drop")))
    assert [row.value for row in rows] == [{"a": 1}, None, {"a": 2}]
    assert rows[1].problem.startswith("not JSON")
    assert rows[2].place == f"{path}:3"


def test_missing_file_and_folder_without_data_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        local_files(source(tmp_path / "gone.jsonl"))
    with pytest.raises(DataError, match="holds no data file"):
        local_files(source(tmp_path))


def test_device_is_not_read() -> None:
    with pytest.raises(DataError, match="suffix says nothing"):
        local_files(source(Path("/dev/zero")))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_without_permission_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(b"{}\n")
    path.chmod(0)
    with pytest.raises(DataError, match="cannot be read: Permission denied"):
        list(read(source(path)))


def test_hub_data_set_without_the_hub_is_a_network_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(NetworkError, match="not in its cache") as caught:
        list(read(Source(path="someone/some-data", revision="abc")))
    assert caught.value.where == "someone/some-data at abc"


def test_limit_takes_exactly_so_many_rows_whatever_their_order(
    jsonl: Callable[..., Path],
) -> None:
    rows = [{"n": i} for i in range(100)]
    taken = []
    for name, order in (("a.jsonl", rows), ("b.jsonl", rows[::-1])):
        limited = source(jsonl(order, name), limit=30)
        choice = drawing.choose(limited, seed=1)
        taken.append([row.value["n"] for row in drawing.taken(limited, choice) if row.value])
    assert sorted(taken[0]) == sorted(taken[1])
    assert len(taken[0]) == 30
    assert taken[0] == sorted(taken[0]), "file order is kept"
    other = drawing.choose(source(jsonl(rows), limit=30), seed=2)
    assert other is not None
    assert set(other.copies) != set(taken[0])


@pytest.mark.parametrize(("weight", "rows"), [(0.25, 25), (1.0, 100), (1.5, 150), (3.0, 300)])
def test_weight_gives_an_exact_count(jsonl: Callable[..., Path], weight: float, rows: int) -> None:
    weighted = source(jsonl([{"n": i} for i in range(100)]), weight=weight)
    choice = drawing.choose(weighted, seed=1)
    assert len(list(drawing.taken(weighted, choice))) == rows
