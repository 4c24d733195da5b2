"""A disk that is full while a checkpoint is saved, on a real small file system."""

import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from tests.training.test_resume import error_of

from zephyrctl.errors import DiskFull, JobFailed
from zephyrctl.training import checkpoints, saving
from zephyrctl.training.checkpoints import Facts, Work
from zephyrctl.training.progress import Progress

TENSORS = {"weight": torch.ones(2**20)}
"""4 MiB."""
WRITERS: dict[str, Callable[[Path], object]] = {
    "torch": lambda path: saving.write_state(path / "optimizer.pt", TENSORS),
    "safetensors": lambda path: safetensors.torch.save_file(TENSORS, path / "trained.safetensors"),
    "python": lambda path: (path / "progress.json").write_bytes(bytes(2**22)),
}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a file system of a given size; again with another size makes it larger."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(size: str) -> Path:
        again = ["-o", f"remount,size={size}"] if folder.is_mount() else ["-o", f"size={size}"]
        command = ["mount", "-t", "tmpfs", *again, "tmpfs", str(folder)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("only root can mount a small file system")
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """RLIMIT_FSIZE, as a batch system may set it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_is_recognised_whoever_writes(
    small_disk: Callable[[str], Path], writer: str
) -> None:
    partial = checkpoints.begin(small_disk("1m"), 4)
    with (
        pytest.raises(DiskFull, match=r"checkpoint-4 needs 4,194,304 bytes and 1,048,576 are free"),
        saving.nothing_partial(partial, first=True),
        saving.disk_full_is_said(partial, 2**22),
    ):
        WRITERS[writer](partial)
    assert not partial.exists()


@pytest.mark.parametrize("writer", WRITERS)
def test_a_limit_of_file_sizes_is_recognised_whoever_writes(tmp_path: Path, writer: str) -> None:
    partial = checkpoints.begin(tmp_path, 4)
    with (
        files_of_at_most(2**20),
        pytest.raises(DiskFull, match=r"needs 4,194,304 bytes and its files may not grow"),
        saving.disk_full_is_said(partial, 2**22),
    ):
        WRITERS[writer](partial)


def test_a_full_disk_at_the_manifest_leaves_nothing_half(
    small_disk: Callable[[str], Path],
) -> None:
    partial = checkpoints.begin(small_disk("1m"), 4)
    work = Work({"long": "x" * 2**20}, world_size=1, strategy="single", sharded=False)
    with pytest.raises(DiskFull):
        saving.commit(partial, Facts(work, step=4, total=9, epoch=0, taken=4), first=True)
    assert list(partial.parent.iterdir()) == []


def test_a_full_disk_at_the_record_of_the_run_leaves_nothing_half(
    small_disk: Callable[[str], Path],
) -> None:
    partial = checkpoints.begin(small_disk("1m"), 4)
    facts = Facts(Work({}, 1, strategy="single", sharded=False), step=4, total=9, epoch=0, taken=4)
    progress = Progress(losses=[0.5] * 2**19)
    with pytest.raises(DiskFull, match=r"progress\.json"):
        saving.commit(partial, facts, first=True, add=progress.save)
    assert list(partial.parent.iterdir()) == []


def test_another_error_is_no_full_disk_and_the_log_has_its_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(JobFailed, match="FileNotFoundError"):
        saving.together(lambda: saving.write_state(tmp_path / "gone" / "optimizer.pt", TENSORS))
    assert "in write_state" in capsys.readouterr().err


@pytest.mark.train
def test_a_stage_ends_with_73_and_goes_on_where_there_is_room(
    make_run: Any, drill: Any, small_disk: Callable[[str], Path]
) -> None:
    _, run = make_run("full", sft={"epochs": 3, "save_every": 2, "sample_prompts": 0})
    stage = run.stage("sft")
    stage.path.mkdir()
    stage.checkpoints.symlink_to(small_disk("14m"))  # one checkpoint has 9 MB

    assert drill(run, "sft") == [73]

    message = error_of(stage)["message"]
    assert message.startswith("checkpoint-4 needs 8,8")
    assert message.endswith(" are free")
    assert [path.name for path in stage.checkpoints.iterdir()] == ["checkpoint-2"]
    small_disk("64m")
    assert drill(run, "sft") == [0]
    assert not any(stage.checkpoints.glob("*"))


@pytest.mark.train
def test_a_full_disk_ends_every_process_that_shares_the_model(
    make_run: Any, drill: Any, small_disk: Callable[[str], Path]
) -> None:
    """The first one sees that there is no room, before all of them begin to write together."""
    shared = {"gpus": "none", "strategy": "fsdp2", "hang_after_s": 15}
    settings = {"epochs": 3, "save_every": 2, "sample_prompts": 0, "micro_batch_size": 1}
    _, run = make_run("full-shared", sft=settings, launch=shared)
    stage = run.stage("sft")
    stage.path.mkdir()
    stage.checkpoints.symlink_to(small_disk("14m"))

    assert drill(run, "sft", ranks=2) == [73, 73]

    assert error_of(stage)["message"].startswith("checkpoint-4 needs 8,8")
    assert [path.name for path in stage.checkpoints.iterdir()] == ["checkpoint-2"]
