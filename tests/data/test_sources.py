"""Reading sources: every kind of file, and what is said about a bad one."""

import bz2
import gzip
import io
import json
import lzma
import subprocess
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from zephyrctl.config.schema.data import Source
from zephyrctl.data.sources import MAX_LINE_BYTES, count_rows, lists, local_files, read
from zephyrctl.errors import DataError, NetworkError

ROWS: list[dict[str, Any]] = [{"id": "1", "text": "é"}, {"id": "2", "text": "zwei\nZeilen"}]


def source(path: Path, **settings: Any) -> Source:
    return Source.model_validate({"path": str(path), **settings})


def values(path: Path, **settings: Any) -> list[Any]:
    return [row.value for row in read(source(path, **settings))]


def as_lines() -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in ROWS)


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"folder/{name}", content)
    return buffer.getvalue()


def arrow_of(names: list[str]) -> bytes:
    batch = pa.record_batch([pa.array([1])] * len(names), names=names)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


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
        ("ROWS.JSONL.GZ", gzip.compress(as_lines(), mtime=0)),
        ("rows.jsonl.bz2", bz2.compress(as_lines())),
        ("rows.jsonl.zst", zstd(as_lines()) + zstd(b"")),
        ("rows.csv.zst", zstd('id,text\n1,é\n2,"zwei\nZeilen"\n'.encode())),
        ("rows.json.zip", zipped(rows=json.dumps(ROWS).encode())),
        ("rows.ndjson", as_lines()),
        ("rows.tsv", 'id\ttext\n1\té\n2\t"zwei\nZeilen"\n'.encode()),
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


def test_folder_of_save_to_disk_is_read(tmp_path: Path) -> None:
    saved = datasets.Dataset.from_list(ROWS)
    saved.save_to_disk(tmp_path / "one", num_shards=2)
    assert values(tmp_path / "one") == ROWS
    both = datasets.DatasetDict({"train": saved.select([0]), "test": saved.select([1])})
    both.save_to_disk(tmp_path / "both")
    assert values(tmp_path / "both", split="test") == ROWS[1:]
    with pytest.raises(DataError, match="no split 'dev'") as caught:
        values(tmp_path / "both", split="dev")
    assert caught.value.hint == "set `split` to one of: test, train"
    next((tmp_path / "one").glob("*.arrow")).unlink()
    with pytest.raises(DataError, match="part of the saved data set is missing"):
        values(tmp_path / "one")


@pytest.mark.parametrize(
    ("name", "content", "rows"),
    [
        ("r.jsonl", b'{"a": 1}\n{"a": 2}\n', 2),
        ("r.jsonl", b'{"a": 1}\n{"a": 2}', 2),
        ("r.jsonl", b"", None),
        ("r.jsonl.gz", gzip.compress(b"{}\n", mtime=0), None),
        ("r.json", b"[]", None),
        ("r.parquet", b"no table", None),
    ],
)
def test_rows_are_counted_where_that_is_cheap(
    tmp_path: Path, name: str, content: bytes, rows: int | None
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert count_rows(source(path)) == rows


@pytest.mark.parametrize("open_writer", [pa.ipc.new_stream, pa.ipc.new_file])
def test_arrow_files_of_both_kinds_are_read(tmp_path: Path, open_writer: Any) -> None:
    path, table = tmp_path / "r.arrow", pa.Table.from_pylist(ROWS * 2000)
    with open_writer(str(path), table.schema) as writer:
        writer.write_table(table)
    assert values(path) == ROWS * 2000


def test_columns_of_mixed_types_are_read_as_what_they_were(tmp_path: Path) -> None:
    rows = [{"turns": [{"content": "x"}], "any": 1}, {"turns": [{"content": ["p"]}], "any": None}]
    saved = datasets.Dataset.from_list(rows, on_mixed_types="use_json")
    saved.save_to_disk(tmp_path / "saved")
    saved.to_parquet(tmp_path / "r.parquet")
    assert values(tmp_path / "saved") == values(tmp_path / "r.parquet") == rows


def test_folder_with_files_named_for_splits_gives_the_split_asked_for(tmp_path: Path) -> None:
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test", "trainer_notes"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"from": name}))
    train = [{"from": "train-00000-of-00002"}, {"from": "train-00001-of-00002"}]
    assert values(tmp_path) == train
    assert values(tmp_path, split="test") == [{"from": "test"}]
    with pytest.raises(DataError, match="no file of the folder is named for the split 'dev'"):
        values(tmp_path, split="dev")


@pytest.mark.parametrize("block", [1, 7, 64])
def test_json_list_is_read_alike_in_pieces_of_any_size(
    tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "_BLOCK", block)
    path = tmp_path / "r.json"
    text = '\ufeff[ {"a": -1.5e3, "b": ["\\ud83d\\ude00", "é😀", true, null]},\n 12345 , {"a": ' \
        + '-Infinity}\n,{"n": 1, "n": 2}, "\\\\\\"" , {}]\n'  # fmt: skip
    path.write_text(text, encoding="utf-8")
    found = list(read(source(path, on_bad_line="drop")))
    first = {"a": -1500.0, "b": ["😀", "é😀", True, None]}
    last = {"a": float("-inf")}
    assert [row.value for row in found] == [first, None, last, None, None, {}]
    assert found[3].problem == "the key 'n' stands twice"
    path.write_text(text[:-2] + ' {"x" 1}]', encoding="utf-8")
    with pytest.raises(DataError, match="Expecting ',' or") as caught:
        list(read(source(path, on_bad_line="drop")))
    assert caught.value.where == f"{path}:3:32"


def test_long_json_list_is_read_in_little_memory(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "r.json.gz", "wt") as stream:
        stream.write("[" + ",\n".join([json.dumps({"text": "x" * 10_000})] * 4000) + "]")
    path = tmp_path / "r.json.gz"
    tracemalloc.start()
    try:
        assert sum(1 for _ in read(source(path))) == 4000
        assert tracemalloc.get_traced_memory()[1] < 24 * 2**20
    finally:
        tracemalloc.stop()


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
    ("one object", "r.json", b'{\n  "train": [\n {}]}\n', "r.json:1", "one object over many lines"),
    ("list of text", "r.json", b'["a"]', "r.json#1", "not a JSON object"),
    ("csv fields", "r.csv", b"a,b\n1,2\n3\n", "r.csv:3", "1 fields where the header has 2"),
    ("csv quote", "r.csv", b'a,b\n1,2\n"3,4\n5,6\n', "r.csv:3", "not CSV"),
    ("csv quote inside", "r.csv", b'a,b\n"1"x,2\n', "r.csv:2", "not CSV"),
    ("csv utf-16", "r.csv", "a\n1\n".encode("utf-16"), "r.csv:1", "in UTF-16"),
    ("csv header", "r.csv", b"a,a\n1,2\n", "r.csv:1", "stands twice in the header"),
    ("csv latin-1", "r.csv", "a\nb\né\n".encode("latin-1"), "r.csv:3", "not UTF-8: byte 1"),
    ("list latin-1", "r.json", '[1,\n"é"]'.encode("latin-1"), "r.json:2", "not UTF-8"),
    ("list, comma at the end", "r.json", b'[{"a": 1},]', "r.json:1:11", "not JSON"),
    ("list, no comma", "r.json", b'[{"a": 1}\n {"a": 1}]', "r.json:2:2", "Expecting ',' or"),
    ("list and more", "r.json", b'[{"a": 1}]\n\n []', "r.json:3:2", "Extra data"),
    ("list, nested", "r.json", b'[{}, {"a": ' + b"[" * 200_000, "r.json#2", "nested too deeply"),
    ("list, twice", "r.json", b'[{}, {"a": {"b": 1, "b": 2}}]', "r.json#2", "'b' stands twice"),
    ("deep", "r.jsonl", b'{"a":' * 101 + b"1" + b"}" * 101, "r.jsonl:1", "nested too deeply"),
    ("digits", "r.jsonl", b'{"a": ' + b"9" * 5000 + b"}", "r.jsonl:1", "more digits"),
    ("half a pair", "r.jsonl", b'{"a": "\\ud83d"}', "r.jsonl:1", "half of a surrogate pair"),
    ("not gzip", "r.jsonl.gz", b"plain", "r.jsonl.gz", "damaged"),
    ("gzip cut", "r.jsonl.gz", gzip.compress(as_lines() * 9, mtime=0)[:50], ".gz", "damaged"),
    ("not parquet", "r.parquet", b"plain text", "r.parquet", "not a sound Parquet file"),
    ("not arrow", "r.arrow", b"plain text", "r.arrow", "not a sound Arrow file"),
    ("column twice", "r.arrow", arrow_of(["a", "a"]), "r.arrow", "the column 'a' stands twice"),
    ("packed parquet", "r.parquet.gz", b"", "r.parquet.gz", "packed inside already"),
    ("not zstd", "r.jsonl.zst", b"plain", "r.jsonl.zst", "damaged"),
    ("zstd cut", "r.jsonl.zst", zstd(as_lines())[:-8], "r.jsonl.zst", "damaged"),
    ("not zip", "r.jsonl.zip", b"plain", "r.jsonl.zip", "damaged"),
    ("zip of two", "r.jsonl.zip", zipped(a=b"{}", b=b"{}"), "r.jsonl.zip", "exactly one open file"),
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


def test_hint_can_be_pasted_for_a_name_with_a_space(tmp_path: Path) -> None:
    path = tmp_path / "my rows.csv"
    path.write_bytes("a\né\n".encode("latin-1"))
    with pytest.raises(DataError) as caught:
        values(path)
    subprocess.run(["sh", "-c", str(caught.value.hint)], check=True)
    assert values(tmp_path / "my rows.utf8.csv") == [{"a": "é"}]


def test_missing_file_and_folder_without_data_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        local_files(source(tmp_path / "gone.jsonl"))
    with pytest.raises(DataError, match="holds no data file"):
        local_files(source(tmp_path))


def test_device_is_not_read() -> None:
    with pytest.raises(DataError, match="suffix says nothing"):
        local_files(source(Path("/dev/zero")))


def test_hub_data_set_without_the_hub_is_a_network_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(NetworkError, match="not in its cache") as caught:
        list(read(Source(path="someone/some-data", revision="abc")))
    assert caught.value.where == "someone/some-data at abc"
