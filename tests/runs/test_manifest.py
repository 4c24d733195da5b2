"""A manifest tells what a stage started from and how it ended."""

import json
import time

import pytest

from zephyrctl import __version__
from zephyrctl.errors import DataError, StoppedEarly
from zephyrctl.runs import manifest
from zephyrctl.runs.digests import digest_json, digest_tree
from zephyrctl.runs.manifest import Result
from zephyrctl.runs.store import Run


def _begin(run: Run, **inputs: object) -> manifest.Manifest:
    return manifest.begin(run.stage("sft"), inputs=inputs, seed=7, world_size=2)


def test_a_finished_stage_records_inputs_outputs_and_circumstances(run: Run) -> None:
    folder = run.stage("sft")
    _begin(run, learning_rate=1e-5)
    folder.model.mkdir()
    (folder.model / "w").write_text("weights")
    folder.reporter().notice("three rows were dropped")
    manifest.finish(folder, Result({"loss": float("nan"), "steps": 3}, [folder.model], ["said"]))
    read = folder.read_manifest()
    assert read is not None
    assert read.state == "finished"
    assert read.digest == digest_json({"learning_rate": 1e-5})
    assert read.outputs == {"model": digest_tree(folder.model)}
    assert read.metrics == {"loss": None, "steps": 3}
    assert read.notices == ["three rows were dropped", "said"]
    assert (read.seed, read.world_size, read.attempts) == (7, 2, 1)
    assert read.versions["torch"]
    assert read.hardware["cpu_cores"] >= 1
    assert read.code["zephyrctl"] == __version__
    assert json.loads(folder.manifest_path.read_text())["error"] is None


def test_seconds_add_up_over_attempts_on_the_same_inputs(run: Run) -> None:
    folder = run.stage("sft")
    first = _begin(run, a=1)
    time.sleep(0.05)
    stopped = manifest.fail(folder, StoppedEarly("checkpoint-3 stands"))
    assert stopped.state == "stopped"
    assert stopped.error is not None
    assert stopped.error["code"] == 75
    second = _begin(run, a=1)
    assert (second.attempts, second.started) == (2, first.started)
    time.sleep(0.05)
    done = manifest.finish(folder, Result({}, []))
    assert done.seconds >= stopped.seconds + 0.05
    assert done.error is None
    events = [json.loads(line)["event"] for line in folder.events_path.read_text().splitlines()]
    assert events == ["started", "stopped", "resumed", "finished"]


def test_a_killed_attempt_counts_until_its_last_record(run: Run) -> None:
    folder = run.stage("sft")
    started = time.monotonic()
    _begin(run, a=1)
    time.sleep(0.05)
    folder.reporter().metrics(step=1, total=2, values={"loss": 1.0})
    recorded = time.monotonic() - started
    time.sleep(0.3)
    again = _begin(run, a=1)
    assert 0.04 < again.seconds < recorded + 0.2


def test_other_inputs_start_a_new_count(run: Run) -> None:
    folder = run.stage("sft")
    _begin(run, a=1)
    manifest.fail(folder, StoppedEarly("stopped"))
    assert _begin(run, a=2).attempts == 1


def test_a_later_failure_corrects_an_earlier_one(run: Run) -> None:
    folder = run.stage("sft")
    _begin(run)
    manifest.fail(folder, DataError("connection closed by peer"))
    seconds = manifest.fail(folder, DataError("row 3 is bad")).seconds
    read = folder.read_manifest()
    assert read is not None
    assert read.error is not None
    assert read.error["message"] == "row 3 is bad"
    assert read.seconds == seconds


def test_a_broken_manifest_is_a_data_error_with_its_path(run: Run) -> None:
    folder = run.stage("sft")
    folder.path.mkdir()
    folder.manifest_path.write_text('{"stage": "sft"')
    with pytest.raises(DataError) as caught:
        folder.read_manifest()
    assert caught.value.where == str(folder.manifest_path)
