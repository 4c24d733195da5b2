"""An error is left behind also on a full disk."""

import json
import os
import resource
import signal
from pathlib import Path
from typing import Any

from zephyrctl.runs import last_words

RECORD: dict[str, Any] = {"error": {"kind": "disk", "message": "voll ␀"}, "rank": 0, "t": 1.5}


def test_an_error_is_left_whole(tmp_path: Path) -> None:
    path = tmp_path / "sft" / "error-rank0.json"
    last_words.keep_room(path)
    last_words.leave(path, RECORD)
    assert json.loads(path.read_text(encoding="utf-8")) == RECORD
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_without_room_one_is_left_where_it_can(tmp_path: Path) -> None:
    last_words.leave(tmp_path / "error-rank0.json", RECORD)
    assert json.loads((tmp_path / "error-rank0.json").read_text(encoding="utf-8")) == RECORD
    last_words.leave(tmp_path / "no" / "folder" / "error-rank0.json", RECORD)
    last_words.drop_room(tmp_path / "error-rank0.json")


def test_room_that_is_not_needed_is_given_back(tmp_path: Path) -> None:
    path = tmp_path / "error-rank0.json"
    last_words.keep_room(path)
    assert sum(found.stat().st_size for found in tmp_path.iterdir()) == last_words.ROOM
    last_words.drop_room(path)
    assert list(tmp_path.iterdir()) == []


def test_it_is_left_where_no_file_may_grow(tmp_path: Path) -> None:
    path = tmp_path / "error-rank0.json"
    last_words.keep_room(path)
    child = os.fork()
    if not child:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        # Blocks below the limit are there already; new ones are refused.
        resource.setrlimit(resource.RLIMIT_FSIZE, (last_words.ROOM, last_words.ROOM))
        last_words.leave(path, RECORD)
        os._exit(0)
    os.waitpid(child, 0)
    assert json.loads(path.read_text(encoding="utf-8")) == RECORD
