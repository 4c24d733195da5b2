"""Experiment trackers."""

import os
from pathlib import Path
from typing import Any

import pytest

from zephyrctl.config.schema.launch import Track
from zephyrctl.errors import EnvironmentProblem
from zephyrctl.training import trackers


def test_a_missing_tracker_is_named_before_any_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentProblem, match=r"track\.to names wandb"):
        trackers.prepare(Track(to=["wandb"]), folder=tmp_path)
    trackers.prepare(Track(), folder=tmp_path)


def test_trackers_write_into_the_stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found: Any = object()
    monkeypatch.setattr(trackers, "find_spec", lambda name: found)
    for name in ("WANDB_PROJECT", "WANDB_DIR", "TENSORBOARD_LOGGING_DIR"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    trackers.prepare(Track(to=["wandb", "tensorboard"], project="mine"), folder=tmp_path)
    assert os.environ["WANDB_PROJECT"] == "mine"
    assert os.environ["WANDB_DIR"] == str(tmp_path)
    assert os.environ["TENSORBOARD_LOGGING_DIR"] == str(tmp_path / "tensorboard")
