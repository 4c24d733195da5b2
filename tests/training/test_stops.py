"""Requests to stop: wherever they come, a checkpoint stands and nothing is lost or changed."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.training.conftest import build_run
from tests.training.test_resume import error_of, outcome

from zephyrctl.errors import Interrupted, StoppedEarly, Terminated
from zephyrctl.runs import signals
from zephyrctl.runs.store import StageDir
from zephyrctl.training.progress import EVALUATION, Progress
from zephyrctl.training.stops import EvaluationStopped, Stops

pytestmark = pytest.mark.train

# Eight steps; evaluated after 4 and 8, sampled after 3 and 6 and at both ends.
SFT: dict[str, Any] = {
    "epochs": 4,
    "save_every": 4,
    "eval_every": 4,
    "sample_every": 3,
    "sample_prompts": 1,
    "adapter": {"type": "lora", "r": 4, "dropout": 0.2},
}


@pytest.fixture(scope="module")
def straight(
    tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, drill: Any
) -> dict[str, Any]:
    """The outcome without any interruption."""
    _, run = build_run(tmp_path_factory.mktemp("straight") / "straight", tiny_base, sft=SFT)
    assert drill(run, "sft") == [0]
    return outcome(run.stage("sft"))


@pytest.mark.parametrize(
    ("fault", "step"),
    [
        ("step=4:term", 4),  # an evaluation is due: it is broken off, and owed
        ("step=3:usr1", 3),  # samples are due
        ("saving=4:term2", 4),  # twice while a checkpoint is written
        ("step=8:term", 8),  # the last step: nothing is published
    ],
)
def test_a_stop_leaves_one_whole_checkpoint_and_changes_nothing(
    make_run: Any, drill: Any, straight: dict[str, Any], fault: str, step: int
) -> None:
    _, run = make_run("stopped", sft=SFT)
    stage = run.stage("sft")

    assert drill(run, "sft", fault=fault) == [75]

    assert f"stopped at step {step} of 8" in error_of(stage)["message"]
    names = sorted(path.name for path in stage.checkpoints.iterdir())
    assert names[-1] == f"checkpoint-{step}"
    assert all(name.removeprefix("checkpoint-").isdigit() for name in names)
    assert not stage.model.exists()
    assert drill(run, "sft") == [0]
    assert outcome(stage) == straight


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
