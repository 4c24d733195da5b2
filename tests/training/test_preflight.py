"""What is tried before the first step costs little, changes nothing, and fails in one line."""

import errno
import os
import random
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from tests.training.conftest import run_stage
from transformers import TrainerCallback

from zephyrctl.errors import DiskFull, EnvironmentProblem, TrainingDiverged
from zephyrctl.runs.store import StageDir
from zephyrctl.training import preflight, saving
from zephyrctl.training.checkpoint_record import WEIGHTS
from zephyrctl.training.preflight import Preflight

pytestmark = pytest.mark.train


class Reached(Exception):
    """A trainer stands before its first step."""


class Before(TrainerCallback):
    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        raise Reached(self.trainer)


@pytest.fixture(params=["sft", "dpo"])
def trainer(request: pytest.FixtureRequest, make_run: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A real trainer before its first step, with dropout, and the preflight not yet made."""
    monkeypatch.setattr(preflight, "Preflight", Before)
    lora = {"adapter": {"type": "lora", "r": 4, "dropout": 0.2}}
    recipe, run = make_run(sft=lora, dpo=lora | {"init_from": "base"})
    with pytest.raises(Reached) as caught:
        run_stage(request.param, recipe, run)
    return caught.value.args[0]


def draws() -> list[float]:
    return [random.random(), float(np.random.rand()), float(torch.rand(()))]


def test_a_pass_and_a_checkpoint_are_tried_and_nothing_is_changed(trainer: Any) -> None:
    weights = {name: w.detach().clone() for name, w in trainer.model.named_parameters()}
    metrics = {name: list(values) for name, values in trainer._metrics["train"].items()}
    states = saving.random_states()
    expected = draws()
    saving.restore_random_states(states)

    Preflight(trainer).on_train_begin(None, None, None)

    assert draws() == expected
    assert all(w.grad is None for w in trainer.model.parameters())
    for name, weight in trainer.model.named_parameters():
        assert torch.equal(weight, weights[name])
    assert {k: v for k, v in trainer._metrics["train"].items() if v} == metrics
    assert not trainer.optimizer.state
    assert trainer._passes_of_step == ()
    assert list(Path(trainer.args.output_dir).iterdir()) == []


def test_weights_that_give_no_number_are_found_before_any_step(trainer: Any) -> None:
    with torch.no_grad():
        next(w for w in trainer.model.parameters() if w.dim() > 1)[:] = float("nan")
    with pytest.raises(TrainingDiverged, match="the loss of step 1 is nan"):
        Preflight(trainer).on_train_begin(None, None, None)


def test_a_large_checkpoint_is_tried_in_part(trainer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []
    real = safetensors.torch.save_file

    def save_file(tensors: dict[str, torch.Tensor], path: Path) -> None:
        tried.append(len(tensors))
        real(tensors, path)

    monkeypatch.setattr(safetensors.torch, "save_file", save_file)
    preflight.try_checkpoint(trainer)
    monkeypatch.setattr(preflight, "WHOLE", 0)
    monkeypatch.setattr(preflight, "PART", 2048)
    preflight.try_checkpoint(trainer)
    monkeypatch.setattr(preflight, "PART", 1)  # every weight is larger than the part
    preflight.try_checkpoint(trainer)
    assert 0 == tried[2] < tried[1] < tried[0]


def test_a_disk_that_is_full_or_lies_is_found(
    trainer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    real = safetensors.torch.save_file

    def lying(tensors: dict[str, torch.Tensor], path: Path) -> None:
        real({name: weight + 1 for name, weight in tensors.items()}, path)

    for broken, error in ((full, DiskFull), (lying, EnvironmentProblem)):
        monkeypatch.setattr(safetensors.torch, "save_file", broken)
        with pytest.raises(error) as caught:
            preflight.try_checkpoint(trainer)
        assert "\n" not in caught.value.message
        assert list(Path(trainer.args.output_dir).iterdir()) == []
    assert WEIGHTS not in str(caught.value.where)


def test_a_folder_of_checkpoints_that_leads_nowhere_is_found(trainer: Any) -> None:
    root = Path(trainer.args.output_dir)
    shutil.rmtree(root, ignore_errors=True)
    root.symlink_to(root.parent / "nowhere")
    with pytest.raises(EnvironmentProblem, match="checkpoints cannot be written"):
        preflight.try_checkpoint(trainer)


def test_checkpoints_that_stand_need_no_second_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = StageDir(tmp_path / "sft")
    policy: Any = SimpleNamespace(model=torch.nn.Linear(1000, 1000, bias=False))
    weights = 4_000_000
    usage = SimpleNamespace(free=5 * weights)  # one checkpoint, and the model
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DiskFull, match="3 checkpoints and the model need"):
        preflight.check_disk(folder, policy, keep=2)
    for step in (2, 4):
        path = folder.checkpoints / f"checkpoint-{step}" / "optimizer.pt"
        path.parent.mkdir(parents=True)
        path.write_bytes(bytes(3 * weights))
    preflight.check_disk(folder, policy, keep=2)
    usage.free = 3 * weights
    with pytest.raises(DiskFull, match=r"need [0-9.]+ [KMG]iB more"):
        preflight.check_disk(folder, policy, keep=2)


def test_too_little_room_or_too_few_names_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = StageDir(tmp_path / "sft")
    policy: Any = SimpleNamespace(model=torch.nn.Linear(1000, 1000))
    preflight.check_disk(folder, policy, keep=2)
    real = os.statvfs(tmp_path)
    free = SimpleNamespace(
        f_files=10_000, f_favail=10, f_bavail=real.f_bavail, f_blocks=real.f_blocks,
        f_bfree=real.f_bfree, f_frsize=real.f_frsize,
    )  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr(os, "statvfs", lambda path: free)
        with pytest.raises(DiskFull, match="10 more files"):
            preflight.check_disk(folder, policy, keep=2)
    with pytest.raises(DiskFull, match="checkpoints and the model need"):
        preflight.check_disk(folder, policy, keep=10**12)
