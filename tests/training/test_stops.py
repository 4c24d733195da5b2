"""Requests to stop: what is finished first, what is left, and who hears of it.

What stands after a stop at each kind of moment is in tests/drills.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from zephyrctl.errors import Interrupted, StoppedEarly, Terminated
from zephyrctl.runs import signals
from zephyrctl.runs.store import StageDir
from zephyrctl.training.progress import EVALUATION, Progress
from zephyrctl.training.stops import EvaluationStopped, Stops

pytestmark = pytest.mark.train


def test_a_request_to_one_of_two_processes_stops_both(make_run: Any, drill: Any) -> None:
    _, run = make_run("ranks", sft={"epochs": 4, "save_every": 100})
    assert drill(run, "sft", fault="step=3@1:term", ranks=2) == [75, 75]
    assert [path.name for path in run.stage("sft").checkpoints.iterdir()] == ["checkpoint-3"]


@pytest.fixture
def handlers() -> Iterator[None]:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    before = {number: signal.getsignal(number) for number in numbers}
    signals.clear()
    signals.install()
    yield
    signals.clear()
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_stop_names_the_checkpoint_that_stands(tmp_path: Path) -> None:
    """The last one is left out where the model was about to follow."""
    folder = StageDir(tmp_path / "sft")
    stands = folder.checkpoints / "checkpoint-6"
    stands.mkdir(parents=True)
    (stands / "manifest.json").touch()
    error = Stops(folder, Progress()).error(step=8, total=8)
    assert error.where == str(stands)


CPU = SimpleNamespace(device=torch.device("cpu"))


def control() -> Any:
    return SimpleNamespace(should_save=False, should_training_stop=False, should_evaluate=True)


def at(step: int) -> Any:
    return SimpleNamespace(global_step=step, max_steps=8)


@pytest.mark.usefixtures("handlers")
def test_an_evaluation_is_left_between_two_batches_and_owed(tmp_path: Path) -> None:
    progress = Progress()
    stops = Stops(StageDir(tmp_path / "sft"), progress)
    stops.on_train_begin(CPU, at(2), control())
    stops.on_prediction_step(CPU, at(4), control())
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(EvaluationStopped):
        stops.on_prediction_step(CPU, at(4), control())
    asked = control()
    stops.put_off_evaluation(at(4), asked)
    assert asked == SimpleNamespace(
        should_save=True, should_training_stop=True, should_evaluate=False
    )
    assert progress.owed == [EVALUATION]


@pytest.mark.usefixtures("handlers")
def test_before_the_first_step_there_is_nothing_to_save(tmp_path: Path) -> None:
    stage = StageDir(tmp_path / "sft")
    stops = Stops(stage, Progress())
    stops.on_train_begin(CPU, at(0), control())
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(Terminated):
        stops.put_off_evaluation(at(0), control())
    (stage.checkpoints / "checkpoint-2").mkdir(parents=True)
    (stage.checkpoints / "checkpoint-2" / "manifest.json").write_text("{}")
    with pytest.raises(StoppedEarly, match="checkpoint-2 stands"):
        stops.put_off_evaluation(at(0), control())


@pytest.mark.usefixtures("handlers")
def test_the_first_step_is_left_at_once_and_later_ones_are_finished(tmp_path: Path) -> None:
    stops = Stops(StageDir(tmp_path / "sft"), Progress())
    stops.on_train_begin(CPU, at(2), control())
    stops.on_step_begin(CPU, at(2), control())
    with pytest.raises(Interrupted):
        os.kill(os.getpid(), signal.SIGINT)
    signals.clear()
    stops.on_pre_optimizer_step(CPU, at(2), control())
    stops.on_step_begin(CPU, at(3), control())
    os.kill(os.getpid(), signal.SIGINT)
    asked = control()
    stops.on_step_end(CPU, at(4), asked)
    assert asked.should_save
    assert asked.should_training_stop
    assert stops.answered
