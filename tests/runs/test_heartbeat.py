"""Signs of life."""

import os
import time
from pathlib import Path

import pytest

from zephyrctl.runs import heartbeat


@pytest.fixture(autouse=True)
def _no_heart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "_heart", None)


def test_without_a_stage_nothing_is_written(tmp_path: Path) -> None:
    heartbeat.beat("steps")
    with heartbeat.resting("saving"):
        pass
    assert heartbeat.read(tmp_path) == []


def test_a_beat_says_who_does_what_and_when(tmp_path: Path) -> None:
    before = time.time()
    heartbeat.install(tmp_path, rank=1)
    heartbeat.beat("steps")
    heartbeat.beat("steps")
    (last,) = heartbeat.read(tmp_path)
    assert (last.rank, last.pid, last.doing, last.count) == (1, os.getpid(), "steps", 2)
    assert before <= last.t <= time.time()
    assert not last.rests


def test_resting_is_told_and_ends(tmp_path: Path) -> None:
    heartbeat.install(tmp_path, rank=0)
    assert heartbeat.read(tmp_path)[0].rests
    heartbeat.beat("steps")
    with heartbeat.resting("a name that is much too long for the record " * 5):
        (resting,) = heartbeat.read(tmp_path)
        assert resting.rests
    (after,) = heartbeat.read(tmp_path)
    assert (after.doing, after.count) == ("steps", 1)


def test_what_an_earlier_attempt_left_can_be_forgotten(tmp_path: Path) -> None:
    heartbeat.install(tmp_path, rank=0)
    (tmp_path / "heartbeat" / "rank1").write_text("torn")
    assert len(heartbeat.read(tmp_path)) == 1
    heartbeat.clear(tmp_path)
    assert heartbeat.read(tmp_path) == []


def test_what_is_left_of_a_process_may_rest_for_good(tmp_path: Path) -> None:
    heartbeat.rest("ending")  # without a stage, nothing
    heartbeat.install(tmp_path, rank=0)
    heartbeat.beat("steps")
    heartbeat.rest("ending")
    (last,) = heartbeat.read(tmp_path)
    assert (last.doing, last.count) == ("resting: ending", 1)
