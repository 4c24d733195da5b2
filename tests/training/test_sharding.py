"""Training shared out among two processes is the training of one.

How it goes on after a kill is in tests/drills.
"""

import json
import shutil
from typing import Any

import pytest
import safetensors.torch
import torch

from zephyrctl import environment
from zephyrctl.runs.atomic import read_jsonl
from zephyrctl.runs.store import StageDir

pytestmark = pytest.mark.train

SHARED = {"launch": {"gpus": "none", "strategy": "fsdp2"}}
SHORT: dict[str, Any] = {"epochs": 2, "sample_prompts": 0, "micro_batch_size": 1}
STAGES: dict[str, tuple[str, dict[str, Any]]] = {
    "sft": ("sft", {"sample_prompts": 1}),
    "dpo": ("dpo", {"init_from": "base"}),
}


def records(stage: StageDir) -> list[tuple[int, str, float, float]]:
    """(step, split, loss, norm of the gradient) of every record, in file order."""
    return [
        (r["step"], r["split"], r["values"]["loss"], r["values"].get("grad_norm", 0.0))
        for r in read_jsonl(stage.metrics_path)
        if r["kind"] == "metrics"
    ]


def assert_alike(found: StageDir, expected: StageDir) -> None:
    """Losses within 1e-6, norms within 1e-5 of their size, published weights within 1e-5."""
    pairs = list(zip(records(found), records(expected), strict=True))
    assert pairs
    for (step, split, loss, norm), (other_step, other_split, wanted, size) in pairs:
        assert (step, split) == (other_step, other_split)
        assert loss == pytest.approx(wanted, abs=1e-6)
        assert norm == pytest.approx(size, rel=1e-5)
    one, other = (weights_of(stage) for stage in (found, expected))
    assert one.keys() == other.keys()
    for name, weight in one.items():
        torch.testing.assert_close(weight, other[name], atol=1e-4, rtol=1e-4)


def weights_of(stage: StageDir) -> dict[str, torch.Tensor]:
    """The weights that the stage published."""
    return safetensors.torch.load_file(next(stage.model.glob("*model.safetensors")))


def notices_of(stage: StageDir) -> str:
    """Everything that the stage had to say."""
    found = stage.read_manifest()
    assert found is not None
    return "\n".join(found.notices)


@pytest.mark.parametrize("name", STAGES)
def test_two_processes_that_share_the_model_train_like_one(
    name: str, make_run: Any, drill: Any
) -> None:
    stage, more = STAGES[name]
    settings = {stage: SHORT | more}
    _, one = make_run("one", **settings)
    _, two = make_run("two", **settings, **SHARED)

    assert drill(one, stage) == [0]
    # Two processes also share the work of the reference's log-probs, if no cache holds them.
    shutil.rmtree(environment.cache_root() / "reference", ignore_errors=True)
    assert drill(two, stage, ranks=2) == [0, 0]

    assert_alike(two.stage(stage), one.stage(stage))
    assert "each with its part of weights" in notices_of(two.stage(stage))
    if settings[stage]["sample_prompts"]:
        samples = [run.stage(stage).samples_path.read_text("utf-8") for run in (one, two)]
        assert samples[0] == samples[1]


@pytest.mark.parametrize(
    ("saves", "message"), [(100, "not finite at step 3"), (2, "not finite at step 2")]
)
def test_a_part_that_becomes_nan_ends_every_process(
    saves: int, message: str, make_run: Any, drill: Any
) -> None:
    """At the next update, or before the checkpoint that all write together."""
    launch = SHARED["launch"] | {"hang_after_s": 15}
    _, run = make_run("nan", sft=SHORT | {"save_every": saves}, launch=launch)

    assert drill(run, "sft", fault="step=2@1:nan", ranks=2) == [6, 6]

    error = (run.stage("sft").read_manifest() or pytest.fail("no manifest")).error
    assert error is not None
    assert message in error["message"]
    assert not run.stage("sft").model.exists()
    assert (
        json.loads((run.stage("sft").path / "error-rank1.json").read_text())["error"]["code"] == 6
    )
