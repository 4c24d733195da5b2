"""Drills 6 to 14: a training that is killed, stopped, damaged, diverging, or not alone."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.drills.conftest import (
    PAIR,
    Yard,
    checkpoints,
    curve,
    leftovers,
    manifest_of,
    outcome,
    stage_of,
)
from tests.e2e.conftest import wait_for

from zephyrctl.runs.atomic import read_jsonl

pytestmark = [pytest.mark.e2e, pytest.mark.train, pytest.mark.timeout(600)]


def test_06_a_kill_at_step_7_ends_like_a_straight_run(
    yard: Yard, prepared: str, straight_sft: str
) -> None:
    stage = yard.copy(prepared, "killed").stage("sft")
    error = yard.error("sft", "killed", fault="step=7:kill", code=1)
    assert "SIGKILL" in error["message"]
    assert not stage.model.exists()
    assert manifest_of(stage).state == "failed"
    assert checkpoints(stage) == ["checkpoint-3", "checkpoint-6"]

    yard.does("sft", "killed")

    assert outcome(stage) == outcome(stage_of(yard, straight_sft, "sft"))
    assert manifest_of(stage).attempts == 2
    assert leftovers(yard.run("killed")) == []


def test_07_a_term_to_one_of_two_ranks_stops_both_at_one_step(
    yard: Yard, prepared: str, straight_pair: str
) -> None:
    stage = yard.copy(prepared, "termed").stage("sft")
    error = yard.error("sft", "termed", sets=PAIR, fault="step=4@1:term", code=75)
    assert error["kind"] == "stopped"
    assert manifest_of(stage).state == "stopped"
    assert checkpoints(stage)[-1] in ("checkpoint-4", "checkpoint-5")
    assert not stage.model.exists()
    assert leftovers(yard.run("termed")) == []

    yard.does("sft", "termed", sets=PAIR)

    assert outcome(stage) == outcome(stage_of(yard, straight_pair, "sft"))
    assert manifest_of(stage).world_size == 2


def test_08_a_second_term_during_the_save_still_leaves_one_whole_checkpoint(
    yard: Yard, prepared: str, straight_sft: str
) -> None:
    stage = yard.copy(prepared, "termed-twice").stage("sft")
    fault = "step=4:term,saving=4:term2,save=4:term"
    assert yard.error("sft", "termed-twice", fault=fault, code=75)["kind"] == "stopped"
    assert checkpoints(stage) == ["checkpoint-3", "checkpoint-4"]
    assert manifest_of(stage).state == "stopped"
    assert not stage.model.exists()

    yard.does("sft", "termed-twice")

    assert ["resumed", 4] in [[r["event"], r.get("step")] for r in read_jsonl(stage.events_path)]
    assert outcome(stage) == outcome(stage_of(yard, straight_sft, "sft"))


def test_09_a_damaged_checkpoint_is_skipped_by_name_and_with_none_left_it_is_exit_77(
    yard: Yard, prepared: str, straight_sft: str
) -> None:
    stage = yard.copy(prepared, "damaged").stage("sft")
    yard.does("sft", "damaged", fault="step=7:kill", code=1)
    newest = stage.checkpoints / "checkpoint-6"
    largest = max(files_of(newest), key=lambda path: path.stat().st_size)
    flip_a_byte(largest)
    both = yard.copy("damaged", "all-damaged").stage("sft")
    older = both.checkpoints / "checkpoint-3"
    largest_of_older = max(files_of(older), key=lambda path: path.stat().st_size)
    largest_of_older.write_bytes(b"")

    error = yard.error("sft", "all-damaged", code=77)
    assert error["kind"] == "checkpoint"
    said = json.dumps(error)
    for name in ("checkpoint-6", "checkpoint-3", largest.name):
        assert name in said
    assert checkpoints(both) == ["checkpoint-3", "checkpoint-6"]  # they may be all there is
    assert not both.model.exists()

    yard.does("sft", "damaged")
    notices = manifest_of(stage).notices
    assert [text for text in notices if "checkpoint-6" in text and largest.name in text]
    assert outcome(stage) == outcome(stage_of(yard, straight_sft, "sft"))


def test_10_a_checkpoint_without_optimizer_schedule_or_random_state_is_refused(
    yard: Yard, prepared: str
) -> None:
    stage = yard.copy(prepared, "robbed").stage("sft")
    yard.does("sft", "robbed", fault="step=4:kill", code=1)
    (only,) = checkpoints(stage)
    for part in ("optimizer", "scheduler", "rng"):
        lost = next(path for path in files_of(stage.checkpoints / only) if part in path.name)
        content = lost.read_bytes()
        lost.unlink()
        error = yard.error("sft", "robbed", code=77)
        assert lost.name in json.dumps(error)
        assert checkpoints(stage) == [only]
        lost.write_bytes(content)
    assert not stage.model.exists()


@pytest.mark.parametrize(("at", "says"), [(6, "step 6"), (7, "step 8")])
def test_11_weights_that_are_nan_end_with_exit_6_and_the_last_good_checkpoint_stays(
    yard: Yard, prepared: str, at: int, says: str
) -> None:
    """At step 6 a checkpoint is due; at step 7 none is, and the next loss tells."""
    name = f"nan-{at}"
    stage = yard.copy(prepared, name).stage("sft")
    error = yard.error(
        "sft", name, sets={"sft.keep_checkpoints": 1}, fault=f"step={at}:nan", code=6
    )
    assert error["kind"] == "diverged"
    assert says in error["message"]
    good = {6: "checkpoint-3", 7: "checkpoint-6"}[at]
    assert good in error["hint"]
    assert checkpoints(stage) == [good]
    assert manifest_of(stage).state == "failed"
    assert not stage.model.exists()


def test_14_a_second_process_is_refused_and_a_stale_lock_taken_over(
    yard: Yard, prepared: str
) -> None:
    run = yard.copy(prepared, "shared")
    with hanging(yard, "sft", "shared", until=lambda: bool(curve(run.stage("sft")))) as holder:
        error = yard.error("sft", "shared", code=2)
        assert error["kind"] == "usage"
        assert f"process {holder.pid} on {os.uname().nodename}" in error["message"]
        assert manifest_of(run.stage("sft")).state == "running"
    assert str(holder.pid) in (run.root / ".lock").read_text()  # nobody was there to remove it

    yard.does("sft", "shared")

    assert manifest_of(run.stage("sft")).state == "finished"


@contextmanager
def hanging(
    yard: Yard, command: str, name: str, *, until: Callable[[], bool]
) -> Iterator[subprocess.Popen[bytes]]:
    """A command whose training stands still at its first step; `kill -9` of it all at the end."""
    child = subprocess.Popen(
        yard.argv(*yard.words(command, name)),
        cwd=yard.folder,
        env={**yard.env, "ZEPHYRCTL_FAULT": "step=2:hang"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(until, alive=lambda: child.poll() is None)
        yield child
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def files_of(folder: Path) -> list[Path]:
    """What a checkpoint consists of, without its manifest."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return [path for path in files if path.name not in ("manifest.json", "seal.json")]


def flip_a_byte(path: Path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
