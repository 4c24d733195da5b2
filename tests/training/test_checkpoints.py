"""Which checkpoint counts, and what is deleted."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zephyrctl.errors import EnvironmentProblem, NoCheckpoint
from zephyrctl.runs.atomic import read_jsonl
from zephyrctl.runs.store import StageDir
from zephyrctl.training import checkpoint_record, checkpoints
from zephyrctl.training.checkpoint_record import Damaged
from zephyrctl.training.checkpoints import Facts, Work

INPUTS: dict[str, Any] = {"data": "d" * 64, "sft.learning_rate": 2e-5}
FILES = ("trained.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json",
         "progress.json", "rng_state_0.pth", "rng_state_1.pth")  # fmt: skip


@pytest.fixture
def stage(tmp_path: Path) -> StageDir:
    return StageDir(tmp_path / "sft")


def facts(step: int, *, loss: float | None = None, **inputs: Any) -> Facts:
    work = Work(INPUTS | inputs, world_size=2, strategy="ddp", sharded=False)
    return Facts(work, step=step, total=9, epoch=0, taken=4 * step, held_out_loss=loss)


def save(stage: StageDir, step: int, *, loss: float | None = None, **inputs: Any) -> Path:
    partial = checkpoints.begin(stage.checkpoints, step)
    for name in FILES:
        (partial / name).write_bytes(f"{name} of step {step}".encode() * 10)
    return checkpoints.commit(partial, facts(step, loss=loss, **inputs))


def scan(stage: StageDir, **given: Any) -> checkpoints.Scan:
    return checkpoints.scan(stage, **({"inputs": INPUTS} | given))


def names(stage: StageDir) -> list[str]:
    return sorted(path.name for path in stage.checkpoints.iterdir())


def test_nothing_there_is_a_fresh_start(stage: StageDir) -> None:
    assert scan(stage) == checkpoints.Scan(None, [])
    assert stage.newest_checkpoint() is None


def test_the_highest_step_wins_by_number_not_by_name(stage: StageDir) -> None:
    save(stage, 9)
    save(stage, 10)
    found = scan(stage).resume
    assert found is not None
    assert (found.step, found.world_size) == (10, 2)
    assert stage.newest_checkpoint() == 10


def test_a_checkpoint_says_what_it_is_of(stage: StageDir) -> None:
    record = json.loads((save(stage, 4, loss=1.5) / "manifest.json").read_text())
    assert {key: record[key] for key in ("step", "total", "epoch", "taken", "world_size")} == {
        "step": 4, "total": 9, "epoch": 0, "taken": 16, "world_size": 2,
    }  # fmt: skip
    assert record["inputs"] == INPUTS
    assert (record["data"], record["held_out_loss"]) == ("d" * 64, 1.5)
    assert record["versions"].keys() == {
        "python", "torch", "transformers", "trl", "peft", "zephyrctl",
    }  # fmt: skip
    assert record["files"].keys() == set(FILES)
    entry = record["files"]["optimizer.pt"]
    assert entry["size"] == len(b"optimizer.pt of step 4") * 10
    assert len(entry["xxh3_128"]) == 32


def test_what_was_never_finished_is_removed_and_named(stage: StageDir) -> None:
    save(stage, 2)
    partial = checkpoints.begin(stage.checkpoints, 4)
    (partial / "optimizer.pt").write_bytes(b"half")
    (stage.checkpoints / "checkpoint-1.removed").mkdir()
    found = scan(stage)
    assert found.resume is not None
    assert found.resume.step == 2
    assert found.said == [
        "removed checkpoint-4.partial: it was never finished",
        "removed checkpoint-1.removed: its deletion was never finished",
    ]
    assert names(stage) == ["checkpoint-2"]


def test_a_damaged_one_is_passed_over_and_put_aside(stage: StageDir) -> None:
    save(stage, 2)
    (save(stage, 4) / "optimizer.pt").write_bytes(b"optimizer.pt of step 5" * 10)
    found = scan(stage)
    assert found.resume is not None
    assert found.resume.step == 2
    assert found.said == [
        "passed over checkpoint-4: the content of optimizer.pt has changed; going on from "
        "checkpoint-2"
    ]
    assert names(stage) == ["checkpoint-2", "checkpoint-4.damaged"]
    save(stage, 4)
    newest = save(stage, 6)
    checkpoints.rotate(stage.checkpoints, keep=2, newest=newest)
    assert names(stage) == ["checkpoint-4", "checkpoint-6"]


def test_without_digests_only_sizes_are_compared(stage: StageDir) -> None:
    folder = save(stage, 4)
    (folder / "optimizer.pt").write_bytes(b"optimizer.pt of step 5" * 10)
    found = scan(stage, digests=False).resume
    assert found is not None
    assert found.step == 4
    (folder / "optimizer.pt").write_bytes(b"short")
    with pytest.raises(NoCheckpoint):
        scan(stage, digests=False)


def test_only_damaged_ones_is_an_error_and_nothing_is_deleted(stage: StageDir) -> None:
    (save(stage, 2) / "optimizer.pt").unlink()
    (save(stage, 4) / "manifest.json").unlink()
    checkpoints.begin(stage.checkpoints, 6)
    before = names(stage)
    with pytest.raises(NoCheckpoint) as caught:
        scan(stage)
    assert "checkpoint-2: optimizer.pt is missing" in caught.value.message
    assert "checkpoint-4: manifest.json is missing" in caught.value.message
    assert names(stage) == before


def test_one_of_other_inputs_is_no_place_to_go_on_from(stage: StageDir) -> None:
    save(stage, 2, **{"sft.learning_rate": 1e-5})
    with pytest.raises(NoCheckpoint, match=r"belongs to other inputs \(sft\.learning_rate\)"):
        scan(stage)
    found = scan(stage, allowed=["sft.learning_rate"]).resume
    assert found is not None
    assert found.step == 2


def test_rotation_keeps_the_newest(stage: StageDir) -> None:
    folders = [save(stage, step) for step in (2, 4, 6)]
    checkpoints.rotate(stage.checkpoints, keep=2, newest=folders[2])
    assert names(stage) == ["checkpoint-4", "checkpoint-6"]
    checkpoints.rotate(stage.checkpoints, keep=1, newest=folders[2])
    assert names(stage) == ["checkpoint-6"]
    assert checkpoints.newest(stage.checkpoints) == folders[2]


def test_rotation_keeps_the_best_where_it_is_asked_to(stage: StageDir) -> None:
    folders = [save(stage, s, loss=v) for s, v in ((2, 1.5), (4, 1.1), (6, 1.3), (8, None))]
    checkpoints.rotate(stage.checkpoints, keep=1, newest=folders[3], keep_best=True)
    assert names(stage) == ["checkpoint-4", "checkpoint-8"]
    newest = save(stage, 10, loss=0.9)
    checkpoints.rotate(stage.checkpoints, keep=1, newest=newest, keep_best=True)
    assert names(stage) == ["checkpoint-10"]


def test_links_are_never_followed_when_deleting(stage: StageDir, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("kept")
    newest = save(stage, 4)
    (stage.checkpoints / "checkpoint-2").symlink_to(precious)
    (stage.checkpoints / "checkpoint-3").mkdir()
    (stage.checkpoints / "checkpoint-3" / "link").symlink_to(precious)
    (stage.checkpoints / "checkpoint-5.partial").symlink_to(precious)
    assert scan(stage).resume is not None
    checkpoints.rotate(stage.checkpoints, keep=1, newest=newest)
    assert names(stage) == ["checkpoint-4"]
    (stage.checkpoints / "checkpoint-6").symlink_to(newest)
    assert (checkpoints.by_age(stage.checkpoints)[0]).name == "checkpoint-6"
    resume = scan(stage).resume
    assert resume is not None
    assert resume.path == newest
    assert (precious / "file").read_text() == "kept"


def test_what_does_not_read_back_is_put_aside_and_older_ones_stand(
    stage: StageDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(stage, 2)
    rename = Path.rename

    def bad_disk(self: Path, target: Path) -> Path:
        if self.name.endswith(".partial"):
            (self / "optimizer.pt").write_bytes(b"another" * 10)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", bad_disk)
    with pytest.raises(EnvironmentProblem, match=r"checkpoint-4 does not read back .*optimizer"):
        save(stage, 4)
    monkeypatch.undo()
    assert names(stage) == ["checkpoint-2", "checkpoint-4.damaged"]
    resume = scan(stage).resume
    assert resume is not None
    assert resume.step == 2


def flip(place: float) -> Callable[[Path], None]:
    def act(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[int(place * (len(content) - 1))] ^= 1
        path.write_bytes(content)

    return act


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def into_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def into_link(path: Path) -> None:
    """To a copy elsewhere: the same content, but not the checkpoint's own."""
    copy = path.parent.parent.parent / "copy"
    path.rename(copy)
    path.symlink_to(copy)


def into_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "first byte": flip(0), "a byte": flip(0.3), "middle byte": flip(0.5), "last byte": flip(1),
    "truncated": truncate, "empty": lambda path: os.truncate(path, 0), "deleted": Path.unlink,
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\n"),
    "a folder": into_folder, "a link": into_link, "a pipe": into_pipe,
}  # fmt: skip


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stage with the checkpoints of steps 2 and 4, to be copied."""
    stage = StageDir(tmp_path_factory.mktemp("two") / "sft")
    for step in (2, 4):
        save(stage, step)
    return stage.path


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_every_damage_of_every_file_is_found(
    stage: StageDir, two: Path, name: str, damage: str
) -> None:
    shutil.copytree(two, stage.path)
    DAMAGES[damage](stage.checkpoints / "checkpoint-4" / name)
    found = scan(stage)
    assert found.resume is not None
    assert found.resume.step == 2
    assert name in found.said[0]
    assert found.said[0].startswith("passed over checkpoint-4: ")


def test_every_byte_of_the_manifest_counts(stage: StageDir) -> None:
    folder = save(stage, 4)
    path = folder / "manifest.json"
    content = path.read_bytes()
    for place in range(0, len(content), 7):
        for mask in (1, 32):
            path.write_bytes(
                content[:place] + bytes([content[place] ^ mask]) + content[place + 1 :]
            )
            with pytest.raises(Damaged):
                checkpoint_record.verified(folder)
    path.write_bytes(content)
    assert checkpoint_record.verified(folder).step == 4


def test_what_is_not_listed_is_no_part_of_it(stage: StageDir) -> None:
    folder = save(stage, 4)
    (folder / ".nfs0001").write_text("left by a network file system")
    checkpoint_record.verified(folder)
    (folder / "pytorch_model.bin").write_text("of somebody else")
    with pytest.raises(Damaged, match=r"pytorch_model\.bin does not belong to it"):
        checkpoint_record.verified(folder)


def test_a_renamed_checkpoint_is_not_another_step(stage: StageDir) -> None:
    save(stage, 4).rename(stage.checkpoints / "checkpoint-8")
    with pytest.raises(NoCheckpoint, match="checkpoint-8: it is the checkpoint of step 4"):
        scan(stage)


@pytest.mark.parametrize("missing", FILES)
def test_a_checkpoint_that_never_had_a_file_is_refused(stage: StageDir, missing: str) -> None:
    partial = checkpoints.begin(stage.checkpoints, 4)
    for name in FILES:
        if name != missing:
            (partial / name).write_bytes(b"x")
    with pytest.raises(EnvironmentProblem, match=f"{missing} is missing"):
        checkpoints.commit(partial, facts(4))


@pytest.mark.parametrize(
    "name", ["../../secret", "/etc/passwd", "a/../../secret", "", ".", "a//b", "a\\b", "x" * 300]
)
def test_a_manifest_that_names_a_file_elsewhere_is_damaged(
    stage: StageDir, tmp_path: Path, name: str
) -> None:
    (tmp_path / "secret").write_text("kept")
    save(stage, 2)
    folder = save(stage, 4)
    forge(folder, lambda body: body["files"].__setitem__(name, {"size": 4, "xxh3_128": "0" * 32}))
    with pytest.raises(Damaged, match="names a file that is not in it"):
        checkpoint_record.verified(folder)
    scan(stage)
    assert (tmp_path / "secret").read_text() == "kept"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
FIELDS = list(checkpoint_record.Record.model_fields)


@given(field=st.sampled_from(FIELDS), value=JSON, forged=st.booleans())
def test_a_manifest_of_any_content_is_good_or_damaged(
    tmp_path_factory: pytest.TempPathFactory, field: str, value: Any, forged: bool
) -> None:
    folder = made_once(tmp_path_factory)
    path = folder / "manifest.json"
    content = path.read_bytes()
    body = json.loads(content)
    expected = body[field]
    try:
        if forged:
            forge(folder, lambda found: found.__setitem__(field, value))
        else:
            path.write_text(json.dumps(body | {field: value}), encoding="utf-8")
        try:
            record = checkpoint_record.verified(folder)
        except Damaged:
            return
        assert forged
        assert record.model_dump()[field] == value or field not in ("step", "files", "world_size")
        assert field not in ("step", "files", "world_size") or value == expected
    finally:
        path.write_bytes(content)


@given(st.one_of(st.binary(max_size=200), st.integers(0, 2000), st.sampled_from(
    [b"[" * 100_000, b"{" * 10, b'{"step": ' + b"9" * 5000 + b"}", b"null", b"[]", b'"x"', b"NaN"]
)))  # fmt: skip
def test_a_torn_or_foreign_manifest_is_damaged(
    tmp_path_factory: pytest.TempPathFactory, torn: bytes | int
) -> None:
    folder = made_once(tmp_path_factory)
    path = folder / "manifest.json"
    content = path.read_bytes()
    path.write_bytes(torn if isinstance(torn, bytes) else content[: min(torn, len(content) - 1)])
    try:
        with pytest.raises(Damaged, match=r"manifest\.json"):
            checkpoint_record.verified(folder)
    finally:
        path.write_bytes(content)


def test_a_huge_manifest_is_not_read(stage: StageDir) -> None:
    folder = save(stage, 4)
    with (folder / "manifest.json").open("r+b") as stream:
        stream.truncate(2**40)
    with pytest.raises(Damaged, match=r"manifest\.json cannot be read"):
        checkpoint_record.verified(folder)


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


def forge(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Write a manifest with an edit and a digest that fits, as somebody would who means harm."""
    path = folder / "manifest.json"
    body = json.loads(path.read_text(encoding="utf-8"))
    del body["digest"]
    edit(body)
    path.write_text(checkpoint_record.text_of(body), encoding="utf-8", errors="backslashreplace")


_made: list[Path] = []


def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One checkpoint for all examples of a property."""
    if not _made:
        _made.append(save(StageDir(tmp_path_factory.mktemp("once") / "sft"), 4))
    return _made[0]


@pytest.fixture
def undeletable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network disk, on which a folder with an open file cannot be deleted."""

    def refuse(path: Path, **options: Any) -> None:
        if not options.get("ignore_errors"):
            raise OSError(errno.EBUSY, "Device or resource busy", str(path))

    monkeypatch.setattr(shutil, "rmtree", refuse)


@pytest.mark.usefixtures("undeletable")
def test_a_training_goes_on_where_an_old_checkpoint_cannot_be_deleted(stage: StageDir) -> None:
    save(stage, 2)
    newest = save(stage, 4)
    said = checkpoints.rotate(stage.checkpoints, keep=1, newest=newest)
    assert said == ["checkpoint-2 could not be removed (Device or resource busy)"]
    found = scan(stage)
    assert found.resume is not None
    assert found.resume.step == 4
    assert found.said == ["checkpoint-2.removed could not be removed (Device or resource busy)"]


@pytest.mark.usefixtures("undeletable")
def test_a_finished_stage_stays_so_where_its_checkpoints_cannot_be_deleted(stage: StageDir) -> None:
    save(stage, 2)
    assert checkpoints.clear_finished(stage) == [
        "checkpoints could not be removed (Device or resource busy)"
    ]


def test_a_kill_after_the_old_checkpoint_of_a_step_was_put_away_leaves_the_new_one(
    stage: StageDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(stage, 4)

    def killed(path: Path) -> None:
        if path.name.endswith(".removed") and path.exists():
            raise KeyboardInterrupt

    with monkeypatch.context() as here:
        here.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            save(stage, 4, loss=1.0)
    found = scan(stage).resume
    assert found is not None
    assert found.record.held_out_loss == 1.0
