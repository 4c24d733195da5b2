"""Drill 25 on a real Slurm of two nodes: told to stop, requeued, followed again, finished."""

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest
from tests.drills.conftest import Yard, curve, manifest_of, outcome, stage_of
from tests.e2e.conftest import wait_for
from tests.launch.slurm_cluster import Cluster, cluster, required

from zephyrctl.launch.slurm import record
from zephyrctl.runs.store import StageDir

pytestmark = [pytest.mark.e2e, pytest.mark.train, pytest.mark.timeout(600)]

TWO_NODES = {
    "launch.backend": "slurm",
    "launch.nodes": 2,
    "launch.gpus_per_node": 0,
    # The nodes' names do not resolve: both are this machine.
    "launch.rendezvous": "127.0.0.1:29731",
    "launch.interface": "lo",
    "launch.slurm.poll_s": 0.5,
    "launch.slurm.memory_gb": 1,
}


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster; where CI has no Slurm, that is a failure."""
    required()
    with cluster(tmp_path_factory.mktemp("slurm")) as started:
        yield started


def _trains(stage: StageDir) -> bool:
    """Whether both nodes have taken a step."""
    return any(split == "train" and step > 0 for split, step, _ in curve(stage))


def test_25_a_stopped_job_is_requeued_followed_again_and_ends_like_a_straight_run(
    yard: Yard, slurm: Cluster, prepared: str, straight_pair: str
) -> None:
    stage = yard.copy(prepared, "queued").stage("sft")
    there = yard.with_env(slurm.env)
    words = there.argv(*there.words("sft", "queued", TWO_NODES))
    first = subprocess.Popen(
        words, cwd=there.folder, env=there.env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    wait_for(lambda: _trains(stage), alive=lambda: first.poll() is None)
    standing = record.read(stage)
    assert standing is not None
    job = str(standing.job)
    slurm("scancel", "--signal=TERM", job)
    wait_for(lambda: slurm.job(job)["Restarts"] == "1", alive=lambda: first.poll() is None)
    error = manifest_of(stage).error
    assert error is not None
    assert error["code"] == 75
    assert not stage.model.exists()

    first.kill()
    first.communicate()
    again = subprocess.Popen(words, cwd=there.folder, env=there.env, stderr=subprocess.PIPE)
    assert again.stderr is not None
    slurm.start_again(job)
    _, said = again.communicate(timeout=280)
    assert again.returncode == 0, said.decode()
    assert f"follows Slurm job {job}; it goes on" in said.decode()

    assert outcome(stage) == outcome(stage_of(yard, straight_pair, "sft"))
    manifest = manifest_of(stage)
    assert (manifest.attempts, manifest.world_size) == (2, 2)
    assert slurm("squeue", "--noheader") == ""


def test_25_ctrl_c_saves_and_the_same_command_goes_on_in_another_job(
    yard: Yard, slurm: Cluster, prepared: str, straight_pair: str
) -> None:
    stage = yard.copy(prepared, "left").stage("sft")
    there = yard.with_env({**slurm.env, "PYTHONFAULTHANDLER": "1"})
    words = there.argv(*there.words("sft", "left", TWO_NODES))
    first = subprocess.Popen(
        words, cwd=there.folder, env=there.env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    wait_for(lambda: _trains(stage), alive=lambda: first.poll() is None)
    os.kill(first.pid, signal.SIGINT)
    _, said = first.communicate(timeout=200)
    assert first.returncode == 130, said.decode()
    assert "stands" in said.decode()
    assert slurm("squeue", "--noheader") == ""

    there.does("sft", "left", sets=TWO_NODES)
    assert outcome(stage) == outcome(stage_of(yard, straight_pair, "sft"))
