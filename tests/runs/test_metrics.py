"""The stream of a stage is written by rank 0 and read while it grows."""

from pathlib import Path

import pytest

from zephyrctl.runs.atomic import read_jsonl
from zephyrctl.runs.metrics import Reporter, notices, read_stream


def test_records_have_their_time_and_kind(tmp_path: Path) -> None:
    reporter = Reporter(tmp_path, rank=0, clock=lambda: 5.0)
    reporter.metrics(step=1, total=4, values={"loss": 2.5})
    reporter.notice("careful", level="warning")
    reporter.event("checkpoint", step=1)
    assert read_jsonl(tmp_path / "metrics.jsonl") == [
        {"t": 5.0, "kind": "metrics", "split": "train", "step": 1, "total": 4,
         "values": {"loss": 2.5}},
        {"t": 5.0, "kind": "notice", "level": "warning", "text": "careful"},
    ]  # fmt: skip
    assert read_jsonl(tmp_path / "events.jsonl") == [
        {"t": 5.0, "kind": "event", "event": "checkpoint", "step": 1}
    ]


def test_other_ranks_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    reporter = Reporter(tmp_path)
    reporter.metrics(step=1, total=1, values={})
    reporter.event("started")
    assert list(tmp_path.iterdir()) == []


def test_progress_is_thinned_and_its_end_always_comes(tmp_path: Path) -> None:
    now = iter(i * 0.05 for i in range(1000))
    reporter = Reporter(tmp_path, rank=0, clock=lambda: next(now))
    for done in range(101):
        reporter.progress("rows", done=done, total=100)
    written = [record["done"] for record in read_jsonl(tmp_path / "metrics.jsonl")]
    assert written[-1] == 100
    assert 10 < len(written) < 40


def test_a_growing_stream_is_read_in_parts(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert read_stream(path) == ([], 0)
    path.write_bytes(b'{"n": 1}\n{"n": 2')
    records, offset = read_stream(path)
    assert records == [{"n": 1}]
    with path.open("ab") as stream:
        stream.write(b"2}\n")
    records, offset = read_stream(path, offset=offset)
    assert records == [{"n": 22}]
    assert read_stream(path, offset=offset) == ([], offset)
    path.write_bytes(b'{"n": 9}\n')  # a stage that started afresh
    assert read_stream(path, offset=offset)[0] == [{"n": 9}]


def test_notices_are_kept_once_and_in_order(tmp_path: Path) -> None:
    reporter = Reporter(tmp_path, rank=0)
    for text in ("b", "a", "b"):
        reporter.notice(text)
    assert notices(tmp_path / "metrics.jsonl") == ["b", "a"]


def test_a_clock_that_is_set_back_does_not_silence_a_task(tmp_path: Path) -> None:
    now = iter([5000.0, 5000.0, 1000.0, 1000.0, 1000.1, 1000.1])
    reporter = Reporter(tmp_path, rank=0, clock=lambda: next(now))
    for done in range(1, 4):
        reporter.progress("rows", done=done, total=100)
    written = [record["done"] for record in read_jsonl(tmp_path / "metrics.jsonl")]
    assert written == [1, 2]
