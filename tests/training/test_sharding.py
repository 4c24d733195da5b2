"""Training shared out among two processes is the training of one, and ends like it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from tests.training.conftest import build_run

from zephyrctl import environment
from zephyrctl.runs import manifest
from zephyrctl.runs.atomic import read_jsonl
from zephyrctl.runs.digests import digest_file
from zephyrctl.runs.store import Run, StageDir

pytestmark = pytest.mark.train

SHARED = {"launch": {"gpus": "none", "strategy": "fsdp2"}}
SHORT: dict[str, Any] = {"epochs": 2, "sample_prompts": 0, "micro_batch_size": 1}
STAGES: dict[str, tuple[str, dict[str, Any]]] = {
    "sft": ("sft", {"sample_prompts": 1}),
    "dpo": ("dpo", {"init_from": "base"}),
}
RESUMED: dict[str, Any] = {
    "epochs": 4,
    "save_every": 2,
    "sample_prompts": 0,
    "adapter": {"type": "lora", "r": 4, "dropout": 0.2},
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


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, drill: Any) -> Path:
    """A shared training that was killed after step 5, with a checkpoint of step 4."""
    root = tmp_path_factory.mktemp("shared") / "killed"
    _, run = build_run(root, tiny_base, sft=RESUMED, **SHARED)
    assert drill(run, "sft", fault="step=5:kill", ranks=2) == [-9, -9]
    return root


def copy_of(root: Path, folder: Path) -> Run:
    """The same run elsewhere."""
    shutil.copytree(root, folder / root.name)
    return Run(folder / root.name)


def test_a_shared_training_goes_on_exactly(
    killed: Path, tmp_path: Path, tiny_base: Path, drill: Any
) -> None:
    resumed = copy_of(killed, tmp_path).stage("sft")
    files = {path.name for path in resumed.checkpoints.glob("checkpoint-4/shards/*")}
    assert len(files) == 2
    assert all(name.endswith(".safetensors") for name in files)  # torch's own form is a pickle
    _, straight = build_run(tmp_path / "straight", tiny_base, sft=RESUMED, **SHARED)

    assert drill(Run(resumed.path.parent), "sft", ranks=2) == [0, 0]
    assert drill(straight, "sft", ranks=2) == [0, 0]

    assert records(resumed) == records(straight.stage("sft"))
    digests = [
        digest_file(next(stage.model.glob("*model.safetensors")))
        for stage in (resumed, straight.stage("sft"))
    ]
    assert digests[0] == digests[1]


def test_a_checkpoint_of_two_goes_on_with_one_where_that_is_allowed(
    make_run: Any, drill: Any
) -> None:
    settings = {"sft": RESUMED | {"adapter": {"type": "none"}}}
    _, two = make_run("two", **settings, **SHARED)
    _, one = make_run("one", **settings)
    assert drill(two, "sft", fault="step=5:kill", ranks=2) == [-9, -9]

    assert drill(two, "sft") == [2]
    allow(two.stage("sft"), world_size=(2, 1), strategy=("fsdp2", "single"))
    assert drill(two, "sft") == [0]
    assert drill(one, "sft") == [0]

    assert_alike(two.stage("sft"), one.stage("sft"))


def allow(stage: StageDir, **changes: tuple[Any, Any]) -> None:
    """What `--allow-change` records before it starts the stage again."""
    found = stage.read_manifest()
    assert found is not None
    allowed = [
        manifest.AllowedChange(field=field, before=before, after=after, step=4)
        for field, (before, after) in changes.items()
    ]
    manifest.go_on(stage, inputs=found.inputs, changes=allowed, verify_hashes=True)


def test_a_part_that_becomes_nan_ends_every_process(make_run: Any, drill: Any) -> None:
    _, run = make_run("nan", sft=SHORT, **SHARED)

    assert drill(run, "sft", fault="step=2@1:nan", ranks=2) == [6, 6]

    error = (run.stage("sft").read_manifest() or pytest.fail("no manifest")).error
    assert error is not None
    assert "not finite at step 3" in error["message"]
    assert not run.stage("sft").model.exists()
    assert (
        json.loads((run.stage("sft").path / "error-rank1.json").read_text())["error"]["code"] == 6
    )
