"""Runs are found, kept apart and locked."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.runs.conftest import finish_stage, make_run

from zephyrctl.config.layers import load
from zephyrctl.config.schema import Recipe
from zephyrctl.errors import ConfigError, EnvironmentProblem, UsageError
from zephyrctl.runs import manifest, store
from zephyrctl.runs.atomic import write_json
from zephyrctl.runs.store import Run
from zephyrctl.runs.summary import stage_states


def test_last_is_the_run_touched_last_by_its_records(tmp_path: Path) -> None:
    make_run(tmp_path, "old", updated="2026-01-03T00:00:00+00:00")
    make_run(tmp_path, "new", updated="2026-02-01T00:00:00+00:00")
    (tmp_path / "not-a-run").mkdir()
    assert [run.name for run in store.list_runs(tmp_path)] == ["new", "old"]
    assert store.find_run("@last", output_root=tmp_path).name == "new"


def test_at_stage_is_the_newest_run_that_finished_it(tmp_path: Path) -> None:
    first = make_run(tmp_path, "a")
    make_run(tmp_path, "b", updated="2099-01-01T00:00:00+00:00")
    finish_stage(first, "sft")
    assert store.find_run("@sft", output_root=tmp_path).name == "a"
    with pytest.raises(UsageError, match="no run with a finished dpo stage"):
        store.find_run("@dpo", output_root=tmp_path)


@pytest.mark.parametrize("ref", ["mine", "{root}/mine", "{root}/mine/sft", "{root}/mine/sft/model"])
def test_a_run_is_found_by_name_path_and_stage(tmp_path: Path, ref: str) -> None:
    finish_stage(make_run(tmp_path, "mine"), "sft")
    found = store.find_run(ref.format(root=tmp_path), output_root=tmp_path)
    assert found.root == tmp_path / "mine"


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("mien", "did you mean 'mine'"),
        ("@lst", "did you mean '@last'"),
        ("runs/x/../..", "'..' inside the path"),
        ("mine/../other", "'..' inside the path"),
        ("/nowhere/at/all", "no run"),
        ("", "no run"),
        ("a\nb", "no run"),
    ],
)
def test_a_reference_to_nothing_is_refused(tmp_path: Path, ref: str, message: str) -> None:
    make_run(tmp_path, "mine")
    with pytest.raises(UsageError, match=message) as caught:
        store.find_run(ref, output_root=tmp_path)
    assert caught.value.exit_code == 2


def test_an_empty_folder_has_no_runs(tmp_path: Path) -> None:
    assert store.list_runs(tmp_path / "absent") == []
    with pytest.raises(UsageError, match="no run yet"):
        store.find_run("@last", output_root=tmp_path)


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(UsageError, match="in the way"):
        store.open_run(Recipe(name="x", output_root=str(tmp_path)))


def test_the_configuration_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    loaded = load(
        sets=[f"output_root={tmp_path}", "name=x", "sft.learning_rate=3e-5"], cwd=tmp_path, env={}
    )
    run = store.open_run(loaded.recipe)
    store.write_config(run, loaded)
    assert run.recipe() == loaded.recipe
    again = load(config=run.root / "config.yaml", cwd=tmp_path, env={})
    assert again.recipe.model_dump() == loaded.recipe.model_dump()
    record = json.loads((run.root / "manifest.json").read_text())
    assert record["run"] == "x"
    store.write_config(run, loaded)
    assert json.loads((run.root / "manifest.json").read_text())["created"] == record["created"]


def test_a_configuration_of_another_version_names_each_problem(run: Run) -> None:
    run.config_path.write_text('{"name": "mine", "sft": {"no_such": 1}, "seed": -1}')
    with pytest.raises(ConfigError) as caught:
        run.recipe()
    assert [problem.message.split(":")[0] for problem in caught.value.problems] == [
        "seed",
        "sft.no_such",
    ]


_HOLD = """
import sys, time
from pathlib import Path
from zephyrctl.runs.store import Run, lock
with lock(Run(Path(sys.argv[1])), purpose="zephyrctl sft"):
    print("locked", flush=True)
    time.sleep(60)
"""


def _hold(run: Run) -> "subprocess.Popen[str]":
    child = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(run.root)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "locked\n"
    return child


def test_a_second_process_is_told_who_works_on_the_run(run: Run) -> None:
    child = _hold(run)
    try:
        assert store.lock_holder(run)["pid"] == child.pid  # type: ignore[index]
        with (
            pytest.raises(UsageError, match=f"process {child.pid} on .*zephyrctl sft") as caught,
            store.lock(run, purpose="zephyrctl dpo"),
        ):
            pass
        assert caught.value.exit_code == 2
    finally:
        child.kill()
        child.communicate()


def test_a_lock_ends_with_its_process_however_that_ends(run: Run) -> None:
    child = _hold(run)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert store.lock_holder(run) is None
    with store.lock(run, purpose="zephyrctl dpo"):
        holder = store.lock_holder(run)
        assert holder is not None
        assert (holder["pid"], holder["purpose"]) == (os.getpid(), "zephyrctl dpo")
    assert store.lock_holder(run) is None


def test_a_disk_without_locks_is_refused_in_words(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(EnvironmentProblem, match="takes no locks"), store.lock(run, purpose="x"):
        pytest.fail("two commands could work on one run")
    assert store.lock_holder(run) is None


def test_what_can_be_resumed_is_said(run: Run) -> None:
    folder = run.stage("sft")
    assert folder.resumable_work() is None
    for name in ("checkpoint-8", "checkpoint-16", "checkpoint-24.partial-x"):
        (folder.checkpoints / name).mkdir(parents=True)
    assert folder.resumable_work() == "checkpoint-16 stands"
    data = run.stage("data")
    data.path.mkdir(parents=True)
    assert data.resumable_work() is None
    data.chunks_kept.touch()
    assert data.resumable_work() == "the chunks so far are kept"


def test_a_run_that_is_still_being_built_is_not_listed(tmp_path: Path) -> None:
    make_run(tmp_path, "whole")
    make_run(tmp_path, "half")
    (tmp_path / "half").rename(tmp_path / ".half.partial-host~1~ab")
    assert [run.name for run in store.list_runs(tmp_path)] == ["whole"]
    assert store.find_run("@last", output_root=tmp_path).name == "whole"


def test_a_job_whose_end_nobody_saw_is_at_work(tmp_path: Path) -> None:
    run = store.open_run(Recipe(name="mine", output_root=str(tmp_path)))
    stage = run.stage("sft")
    assert store.at_work(run) is None
    write_json(stage.path / "slurm.json", {"job": "7", "ended": None})
    assert store.at_work(run) == {"job": "7", "stage": "sft", "purpose": "Slurm job 7 (sft)"}
    manifest.begin(stage, inputs={}, seed=1, world_size=1)
    assert store.at_work(run) is not None
    assert stage_states(run)["sft"]["state"] == "running"
    manifest.finish(stage, manifest.Result({}, []))
    assert store.at_work(run) is None


def test_a_job_that_was_seen_to_end_is_not_at_work(tmp_path: Path) -> None:
    run = store.open_run(Recipe(name="mine", output_root=str(tmp_path)))
    write_json(run.stage("sft").path / "slurm.json", {"job": "7", "ended": {"state": "FAILED"}})
    assert store.at_work(run) is None


def test_a_read_only_disk_is_said_and_another_folder_proposed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path, **_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(EnvironmentProblem, match="Read-only file system") as caught:
        store.open_run(Recipe(output_root=str(tmp_path), name="a"))
    assert caught.value.hint == "--set output_root=FOLDER"
