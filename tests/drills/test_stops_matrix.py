"""Requests to stop: wherever they come, a checkpoint stands and nothing is lost or changed."""

from pathlib import Path
from typing import Any

import pytest
from tests.training.conftest import _no_cache_of_mine, build_run, drill, make_run
from tests.training.test_resume import error_of, outcome

__all__ = ["_no_cache_of_mine", "drill", "make_run"]

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
