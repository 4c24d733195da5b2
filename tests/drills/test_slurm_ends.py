"""How jobs end that a real Slurm of two nodes ends by itself, or that it does not hear of."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.e2e.conftest import wait_for
from tests.launch.slurm_cluster import Cluster, cluster, required

from zephyrctl.config.schema import Recipe
from zephyrctl.launch.slurm import record
from zephyrctl.runs.atomic import write_json
from zephyrctl.runs.store import Run, StageDir, open_run

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

REPOSITORY = Path(__file__).parents[2]
Follower = subprocess.Popen[str]
Follow = Callable[..., Follower]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster; where CI has no Slurm, that is a failure."""
    required()
    with cluster(tmp_path_factory.mktemp("slurm")) as started:
        yield started


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """An empty run."""
    recipe = Recipe(name="mine", output_root=str(tmp_path))
    opened = open_run(recipe)
    write_json(opened.config_path, recipe.model_dump(mode="json"))
    write_json(opened.root / "manifest.json", {"run": "mine"})
    return opened


@pytest.fixture
def follow(run: Run, slurm: Cluster) -> Follow:
    """Start a process that carries out the data stage as `work` says, and follows it."""

    def begin(work: str, *options: str, **env: str) -> Follower:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.launch.slurm_follow", str(run.root), *options],
            env={**os.environ, **slurm.env, "ZEPHYRCTL_TEST_WORK": work, **env},
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    return begin


def _job_at_work(stage: StageDir, child: Follower) -> str:
    """The number of the stage's job, once its process runs."""
    wait_for((stage.path / "ready").exists, alive=lambda: child.poll() is None)
    standing = record.read(stage)
    assert standing is not None
    assert standing.job is not None
    return standing.job


def _ended(child: Follower, *, code: int) -> str:
    """The message of the error that a follower ends with."""
    output, _ = child.communicate(timeout=120)
    assert child.returncode == code, output
    return json.loads(output.splitlines()[-1])["message"]


def _state(stage: StageDir) -> str:
    standing = record.read(stage)
    assert standing is not None
    assert standing.ended is not None
    return standing.ended["state"]


def test_a_job_at_its_time_limit_saves_and_the_same_command_goes_on(
    run: Run, slurm: Cluster, follow: Follow
) -> None:
    stage = run.stage("data")
    child = follow("save")
    job = _job_at_work(stage, child)
    # A limit has whole minutes; its end has not. Slurm looks every 30 s.
    slurm("scontrol", "update", f"JobId={job}", "EndTime=now+1")
    said = _ended(child, code=75)
    assert f"Slurm job {job} reached its time limit; checkpoint-5 stands" in said
    assert _state(stage) == "TIMEOUT"

    again = follow("save")
    output, _ = again.communicate(timeout=60)
    assert again.returncode == 0, output
    assert _state(stage) == "COMPLETED"


def test_a_job_that_makes_room_saves_goes_back_into_the_queue_and_finishes(
    run: Run, slurm: Cluster, follow: Follow
) -> None:
    stage = run.stage("data")
    child = follow("save", "--partition=spare", "--nodelist=n1", "--exclusive")
    job = _job_at_work(stage, child)
    slurm("sbatch", "--exclusive", "--nodelist=n1", "-o", "/dev/null", "--wrap", "sleep 1")
    wait_for(lambda: slurm.job(job)["Restarts"] == "1", alive=lambda: child.poll() is None)
    slurm.start_again(job)
    output, _ = child.communicate(timeout=120)
    assert child.returncode == 0, output
    assert f"Slurm job {job} is put back into the queue (restart 1)" in output


def test_a_job_that_makes_room_without_saving_is_told_as_that(
    run: Run, slurm: Cluster, follow: Follow
) -> None:
    stage = run.stage("data")
    child = follow("deaf", "--partition=spare", "--nodelist=n1", "--exclusive")
    job = _job_at_work(stage, child)
    slurm("sbatch", "--exclusive", "--nodelist=n1", "-o", "/dev/null", "--wrap", "sleep 1")
    said = _ended(child, code=143)
    assert f"Slurm job {job} had to make room for another one, and nothing was saved" in said
    assert _state(stage) == "PREEMPTED"


def test_a_stop_that_the_cluster_did_not_hear_is_passed_on_again(
    run: Run, slurm: Cluster, follow: Follow, tmp_path: Path
) -> None:
    stage = run.stage("data")
    way, silent = tmp_path / "way" / "slurm.conf", tmp_path / "silent"
    way.parent.mkdir()
    silent.mkdir()
    for name in ("slurm.conf", "gres.conf", "cgroup.conf"):
        shutil.copy(slurm.folder / name, way.parent)
    child = follow("save", SLURM_CONF=str(way))
    assert child.stdout is not None
    _job_at_work(stage, child)

    shutil.copy(slurm.unanswered(silent), way)
    child.send_signal(signal.SIGINT)
    while "the cluster does not answer" not in child.stdout.readline():
        assert child.poll() is None
    shutil.copy(slurm.folder / "slurm.conf", way)

    assert "checkpoint-5 stands" in _ended(child, code=130)
    assert slurm("squeue", "--noheader") == ""
