"""Files reach the disk whole or not at all."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from zephyrctl.errors import DataError, DiskFull
from zephyrctl.runs import atomic


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    atomic.write_json(path, {"a": 1})
    atomic.write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 2}
    assert _names(path.parent) == ["a.json"]


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    atomic.write_text(path, "old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull) as caught:
        atomic.write_text(path, "new")
    assert path.read_text() == "old"
    assert _names(tmp_path) == ["a.txt"]
    assert str(path) in str(caught.value.where)
    assert caught.value.exit_code == 73


@pytest.mark.parametrize("has_links", [True, False])
def test_a_new_file_is_made_whole_and_never_over_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    def refused(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    if not has_links:
        monkeypatch.setattr(os, "link", refused)
    path = tmp_path / "new" / "a.txt"
    atomic.create_text(path, "é")
    assert path.read_bytes() == "é".encode()
    with pytest.raises(FileExistsError):
        atomic.create_text(path, "other")
    assert path.read_bytes() == "é".encode()
    assert _names(path.parent) == ["a.txt"]


def test_numbers_that_are_not_finite_become_null(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    atomic.write_json(path, {"loss": float("nan"), "list": [float("inf"), 1.5]})
    assert json.loads(path.read_text()) == {"loss": None, "list": [None, 1.5]}


def test_a_torn_last_line_is_left_out_and_repaired_by_the_next_append(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"n": 1}\n{"n": 2}\n{"n": 3, "te')
    assert atomic.read_jsonl(path) == [{"n": 1}, {"n": 2}]
    atomic.append_jsonl(path, {"n": 4})
    assert path.read_bytes() == b'{"n": 1}\n{"n": 2}\n{"n": 4}\n'


def test_a_whole_last_line_without_its_newline_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"n": 1}\n{"n": 2}')
    atomic.append_jsonl(path, {"n": 3})
    assert atomic.read_jsonl(path) == [{"n": 1}, {"n": 2}, {"n": 3}]


def test_a_torn_line_longer_than_one_block_is_repaired(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"n": 1}\n{"text": "' + b"x" * 200_000)
    atomic.append_jsonl(path, {"n": 2})
    assert atomic.read_jsonl(path) == [{"n": 1}, {"n": 2}]


def test_a_bad_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"n": 1}\nnot json\n{"n": 3}\n')
    with pytest.raises(DataError) as caught:
        atomic.read_jsonl(path)
    assert caught.value.where == f"{path}:2"


def test_unicode_line_separators_do_not_split_a_record(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    record = {"text": "one\u2028two\x85three"}
    atomic.append_jsonl(path, record)
    assert atomic.read_jsonl(path) == [record]


def test_an_append_that_runs_out_of_space_leaves_no_half_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl"
    atomic.append_jsonl(path, {"n": 1})
    real = os.write

    def half_then_full(descriptor: int, content: bytes) -> int:
        if len(content) > 5:
            return real(descriptor, content[:5])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", half_then_full)
    with pytest.raises(DiskFull, match="bytes are needed"):
        atomic.append_jsonl(path, {"n": 2})
    assert path.read_bytes() == b'{"n": 1}\n'


def test_a_staged_folder_appears_whole_and_replaces_the_old_one(tmp_path: Path) -> None:
    final = tmp_path / "model"
    for content in ("one", "two"):
        with atomic.staged_directory(final) as staging:
            (staging / "weights").write_text(content)
            assert not (final / "weights").exists() or (final / "weights").read_text() == "one"
    assert (final / "weights").read_text() == "two"
    assert _names(tmp_path) == ["model"]


def test_a_staged_folder_vanishes_when_its_block_fails(tmp_path: Path) -> None:
    final = tmp_path / "model"

    def fail() -> None:
        with atomic.staged_directory(final) as staging:
            (staging / "weights").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert _names(tmp_path) == []


_STAGE_AND_WAIT = """
import sys, time
from pathlib import Path
from zephyrctl.runs.atomic import staged_directory
with staged_directory(Path(sys.argv[1])) as staging:
    (staging / "weights").write_text("half")
    print("staged", flush=True)
    time.sleep(60)
"""


def test_a_kill_while_staging_leaves_no_final_folder_and_the_next_call_clears_up(
    tmp_path: Path,
) -> None:
    final = tmp_path / "model"
    child = subprocess.Popen(
        [sys.executable, "-c", _STAGE_AND_WAIT, str(final)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "staged\n"
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert not final.exists()
    assert len(_names(tmp_path)) == 1
    with atomic.staged_directory(final) as staging:
        (staging / "weights").write_text("whole")
    assert _names(tmp_path) == ["model"]


def test_a_folder_lost_between_two_renames_is_put_back(tmp_path: Path) -> None:
    # A kill after the old folder was moved away and before the new one took its name.
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    mark = f"{atomic._host()}~{dead.stdout.strip()}~0"
    old = tmp_path / f".model.old-{mark}"
    old.mkdir()
    (old / "weights").write_text("old")
    atomic.clear_leftovers(tmp_path / "model")
    assert (tmp_path / "model" / "weights").read_text() == "old"


def test_another_process_staging_the_same_folder_is_left_alone(tmp_path: Path) -> None:
    final = tmp_path / "model"
    with atomic.staged_directory(final) as first:
        (first / "weights").write_text("first")
        with atomic.staged_directory(final) as second:
            (second / "weights").write_text("second")
        assert (first / "weights").exists()
    assert (final / "weights").read_text() == "first"


def test_concurrent_appends_keep_every_record(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    code = (
        "import sys; from pathlib import Path; from zephyrctl.runs.atomic import append_jsonl\n"
        "for n in range(50): append_jsonl(Path(sys.argv[1]), {'who': sys.argv[2], 'n': n})"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", code, str(path), who]) for who in ("a", "b")
    ]
    deadline = time.monotonic() + 30
    assert [child.wait(timeout=deadline - time.monotonic()) for child in children] == [0, 0]
    assert len(atomic.read_jsonl(path)) == 100
