"""Training shared out among two processes, killed: it goes on exactly, or is refused."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.training.conftest import _no_cache_of_mine, build_run, drill, make_run
from tests.training.test_sharding import SHARED, assert_alike, records

from zephyrctl.runs import manifest
from zephyrctl.runs.digests import digest_file
from zephyrctl.runs.store import Run, StageDir

__all__ = ["_no_cache_of_mine", "drill", "make_run"]

RESUMED: dict[str, Any] = {
    "epochs": 4,
    "save_every": 2,
    "sample_prompts": 0,
    "adapter": {"type": "lora", "r": 4, "dropout": 0.2},
}


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
