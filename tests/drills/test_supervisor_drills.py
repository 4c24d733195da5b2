"""Drills of the supervisor around torchrun: whoever is stopped or killed, no rank is left."""

import json
import os
import signal
from pathlib import Path

import pytest
from tests.launch.supervised import (
    at_work,
    end_of,
    parent_of,
    ready_ranks,
    supervise,
    wait_for,
)

from zephyrctl.config.schema import Recipe
from zephyrctl.runs.atomic import write_json
from zephyrctl.runs.store import Run, open_run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """An empty run."""
    recipe = Recipe(name="mine", output_root=str(tmp_path))
    opened = open_run(recipe)
    write_json(opened.config_path, recipe.model_dump(mode="json"))
    write_json(opened.root / "manifest.json", {"run": "mine"})
    return opened


def test_a_request_that_reaches_only_torchrun_stops_all_and_is_no_failure(run: Run) -> None:
    child = supervise(run, "sft", "vote")
    os.kill(parent_of(ready_ranks(run)[1]), signal.SIGTERM)
    ended, output = end_of(child)
    assert (ended, json.loads(output[-1])["kind"]) == (75, "stopped")
    assert at_work(run) == []


def test_the_loss_of_torchrun_is_told_as_such_and_takes_its_ranks_along(run: Run) -> None:
    child = supervise(run, "sft", "vote")
    os.kill(parent_of(ready_ranks(run)[0]), signal.SIGKILL)
    ended, output = end_of(child)
    assert ended == 1
    assert "torchrun was killed by SIGKILL" in json.loads(output[-1])["message"]
    assert at_work(run) == []


def test_no_rank_survives_a_kill_of_torchruns_parent(run: Run) -> None:
    child = supervise(run, "sft", "vote")
    ready_ranks(run)
    assert len(at_work(run)) == 4  # the supervisor, torchrun and two ranks
    child.kill()
    child.communicate()
    wait_for(lambda: not at_work(run), seconds=20)
