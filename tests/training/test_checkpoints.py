"""Which checkpoint counts."""

import json
from pathlib import Path

import pytest

from zephyrctl.errors import NoCheckpoint
from zephyrctl.runs.atomic import read_jsonl
from zephyrctl.runs.store import StageDir
from zephyrctl.training import checkpoints


@pytest.fixture
def stage(tmp_path: Path) -> StageDir:
    return StageDir(tmp_path / "sft")


def save(stage: StageDir, step: int, *, digest: str = "d", sealed: bool = True) -> Path:
    folder = checkpoints.folder_of(stage.checkpoints, step)
    folder.mkdir(parents=True)
    (folder / "optimizer.pt").write_bytes(b"state" * 10)
    (folder / "trained.safetensors").write_bytes(bytes([step]) * 30)
    if sealed:
        checkpoints.seal(folder, step=step, total=9, world_size=1, inputs_digest=digest)
    return folder


def test_nothing_there_is_a_fresh_start(stage: StageDir) -> None:
    assert checkpoints.scan(stage, inputs_digest="d") == checkpoints.Scan(None, [])


def test_the_highest_step_wins_by_number_not_by_name(stage: StageDir) -> None:
    save(stage, 9)
    save(stage, 10)
    found = checkpoints.scan(stage, inputs_digest="d").resume
    assert found is not None
    assert found.step == 10


def test_an_unfinished_one_is_removed_and_named(stage: StageDir) -> None:
    save(stage, 2)
    unfinished = save(stage, 4, sealed=False)
    found = checkpoints.scan(stage, inputs_digest="d")
    assert found.resume is not None
    assert found.resume.step == 2
    assert found.said == ["removed checkpoint-4: it was never finished"]
    assert not unfinished.exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"stateX" + b"state" * 9, "has 51 bytes instead of 50"),
        (b"stat3" + b"state" * 9, "the content of optimizer.pt has changed"),
        (None, "optimizer.pt is missing"),
    ],
)
def test_a_damaged_one_is_passed_over(stage: StageDir, content: bytes | None, reason: str) -> None:
    save(stage, 2)
    damaged = save(stage, 4) / "optimizer.pt"
    damaged.unlink() if content is None else damaged.write_bytes(content)
    found = checkpoints.scan(stage, inputs_digest="d")
    assert found.resume is not None
    assert found.resume.step == 2
    assert reason in found.said[0]


def test_only_damaged_ones_is_an_error(stage: StageDir) -> None:
    (save(stage, 2) / "optimizer.pt").unlink()
    with pytest.raises(NoCheckpoint, match=r"checkpoint-2: optimizer\.pt is missing"):
        checkpoints.scan(stage, inputs_digest="d")
    assert (stage.checkpoints / "checkpoint-2").is_dir()


def test_one_of_other_settings_is_removed(stage: StageDir) -> None:
    save(stage, 2, digest="other")
    found = checkpoints.scan(stage, inputs_digest="d")
    assert found.resume is None
    assert "belongs to other settings" in found.said[0]


def test_rotation_keeps_the_newest(stage: StageDir) -> None:
    folders = [save(stage, step) for step in (2, 4, 6)]
    checkpoints.rotate(stage.checkpoints, keep=2, newest=folders[2])
    assert [folder.exists() for folder in folders] == [False, True, True]
    checkpoints.rotate(stage.checkpoints, keep=1, newest=folders[2])
    assert [folder.exists() for folder in folders] == [False, False, True]
    assert checkpoints.last_sealed(stage.checkpoints) == folders[2]


def test_records_after_the_checkpoint_are_dropped(stage: StageDir) -> None:
    stage.path.mkdir()
    records = [
        {"kind": "notice", "text": "kept"},
        {"kind": "metrics", "step": 2},
        {"kind": "metrics", "step": 3},
    ]
    text = "".join(json.dumps(record) + "\n" for record in records)
    stage.metrics_path.write_text(text + '{"kind": "metr', encoding="utf-8")
    stage.samples_path.write_text('{"step": 0}\n{"step": 4}\n', encoding="utf-8")
    checkpoints.rewind(stage, step=2)
    assert read_jsonl(stage.metrics_path) == records[:2]
    assert read_jsonl(stage.samples_path) == [{"step": 0}]
