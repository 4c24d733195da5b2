"""Planned faults."""

import signal
from pathlib import Path

import pytest

from zephyrctl.errors import UsageError
from zephyrctl.runs import faults


def test_nothing_happens_where_nothing_is_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(faults.VARIABLE, raising=False)
    assert faults.planned() == ()
    assert faults.meet("step", 1) is None


def test_a_fault_acts_at_its_place_number_and_rank_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(faults.VARIABLE, "step=3:nan, save=4@1:oom")
    assert faults.meet("step", 2) is None
    assert faults.meet("save", 3) is None
    assert faults.meet("step", 3) == "nan"
    assert faults.meet("save", 4) is None
    monkeypatch.setenv("RANK", "1")
    assert faults.meet("save", 4) == "oom"


def test_a_signal_is_sent_to_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: received.append(number))
    monkeypatch.setenv(faults.VARIABLE, "chunk=0:usr1")
    try:
        assert faults.meet("chunk", 0) is None
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert received == [signal.SIGUSR1]


def test_a_fault_that_is_recorded_acts_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(faults.VARIABLE, "step=3:nan")
    monkeypatch.setenv(faults.ONCE, str(tmp_path / "acted"))
    assert faults.meet("step", 3) == "nan"
    assert faults.meet("step", 3) is None
    monkeypatch.setenv("RANK", "1")
    assert faults.meet("step", 3) == "nan"


def test_a_fault_that_cannot_be_read_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(faults.VARIABLE, "at step 3")
    with pytest.raises(UsageError, match="is no fault"):
        faults.planned()
