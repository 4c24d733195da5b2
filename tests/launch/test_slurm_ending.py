"""What a command does when the cluster does not answer, or is one of several."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.launch.slurm_follow import plan_for, settings_for

from zephyrctl.errors import Interrupted
from zephyrctl.launch.slurm import commands, controller, record
from zephyrctl.launch.slurm.controller import Job
from zephyrctl.launch.slurm.ending import Stop, pass_on
from zephyrctl.launch.slurm.submission import submission
from zephyrctl.runs.store import Run

SILENT = 'echo "Unable to contact slurm controller (connect failure)" >&2; exit 1'
Slurm = Callable[[str, str], Path]


@pytest.fixture
def slurm_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slurm:
    """Put a program in the place of one of Slurm's; returns the file with what it was asked."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def place(name: str, script: str) -> Path:
        asked = folder / f"{name}.asked"
        (folder / name).write_text(f'#!/bin/sh\necho "$@" >>"{asked}"\n{script}\n')
        (folder / name).chmod(0o755)
        return asked

    return place


def test_a_second_ctrl_c_leaves_the_job_to_a_cluster_that_does_not_answer(
    run: Run, slurm_says: Slurm
) -> None:
    slurm_says("scontrol", SILENT)
    slurm_says("scancel", SILENT)
    plan, stop, said = plan_for(run, "data", settings_for()), Stop(), []
    job = Job("7", "far")
    stop.receive(signal.SIGINT, None)
    pass_on(job, plan, stop, waits=False, say=said.append)
    assert stop.heard_at is None
    assert "stopping Slurm job 7" in said[0]
    stop.receive(signal.SIGINT, None)
    with pytest.raises(Interrupted, match="Slurm job 7 goes on without") as told:
        pass_on(job, plan, stop, waits=False, say=said.append)
    assert str(told.value.hint).startswith("scancel --clusters=far 7 ")


def test_a_stop_that_nobody_hears_is_repeated_until_another_one(
    run: Run, slurm_says: Slurm
) -> None:
    asked = slurm_says("scontrol", SILENT)
    plan, stop = plan_for(run, "data", settings_for()), Stop()
    stop.receive(signal.SIGTERM, None)
    for _ in range(2):
        stop.due = 0.0
        pass_on(Job("7"), plan, stop, waits=False, say=lambda text: None)
    assert asked.read_text().splitlines() == ["update JobId=7 Requeue=0"] * 2


def test_a_command_that_waits_for_an_answer_ends_when_nobody_wants_it(tmp_path: Path) -> None:
    began = time.monotonic()
    with commands.unless(lambda: (tmp_path / "begun").exists()):
        words = ["sh", "-c", f"touch {tmp_path}/begun; sleep 60 & echo $!; wait"]
        done = commands.run(words)
    assert time.monotonic() - began < 30
    assert (done.returncode, commands.NO_ANSWER in done.stderr) == (1, True)


def test_a_request_cuts_waiting_short_until_it_is_taken_up(run: Run, slurm_says: Slurm) -> None:
    slurm_says("scontrol", "exit 0")
    slurm_says("scancel", "exit 0")
    plan, stop = plan_for(run, "data", settings_for()), Stop()
    assert not stop.is_new()
    for _ in range(3):
        stop.receive(signal.SIGINT, None)
        assert stop.is_new()
        pass_on(Job("7"), plan, stop, waits=False, say=lambda text: None)
        assert not stop.is_new()
    assert stop.killed


@pytest.mark.parametrize(
    ("environ", "options", "asked"),
    [
        ({}, [], None),
        ({"SLURM_CLUSTERS": "b"}, [], "b"),
        ({"SLURM_CLUSTERS": "b", "SBATCH_CLUSTERS": "c,d"}, [], "c,d"),
        ({"SLURM_CLUSTERS": "b"}, ["--cluster=e", "--clusters=f"], "f"),
        ({"SLURM_CLUSTERS": ""}, [], None),
    ],
)
def test_the_clusters_that_may_have_the_job_are_recorded(
    run: Run, environ: dict[str, str], options: list[str], asked: str | None
) -> None:
    settings = settings_for(options=options)
    plan = plan_for(run, "data", settings)
    given = submission(plan, settings, environ=environ, mark="zephyrctl-m", folder=Path("/"))
    stage = run.stage("data")
    record.begin(stage, mark="zephyrctl-m", command=given.argv, log_starts=0)
    written = record.read(stage)
    assert written is not None
    assert written.clusters == asked


def test_a_job_on_one_of_several_clusters_is_found_with_its_name(slurm_says: Slurm) -> None:
    queues = "CLUSTER: a\nJOBID|COMMENT\n7|mine-not\n\nCLUSTER: b\nJOBID|COMMENT\n7|mark-mine"
    asked = slurm_says("squeue", f"cat <<'END'\n{queues}\nEND")
    found = controller.find("mark-mine", clusters="a,b")
    assert found == Job("7", "b")
    assert "--clusters=a,b" in asked.read_text()
    assert controller.find("mark-gone", clusters="a,b") is None
