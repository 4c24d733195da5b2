"""A command does not disturb the job that an earlier one left at work."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.launch.slurm_cluster import Cluster
from tests.launch.slurm_follow import plan_for, settings_for

from zephyrctl.config.schema import Recipe
from zephyrctl.errors import DataError, EnvironmentProblem, UsageError
from zephyrctl.launch.slurm import jobs, record
from zephyrctl.launch.slurm.controller import Job, State
from zephyrctl.launch.slurm.standing import standing_jobs
from zephyrctl.runs.atomic import write_json
from zephyrctl.runs.store import Run


@pytest.fixture
def job(run: Run, slurm: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A job that waits in a real queue, submitted for the SFT of the run; its number."""
    monkeypatch.setenv("SLURM_CONF", slurm.env["SLURM_CONF"])
    stage = run.stage("sft")
    write_json(run.config_path, _recipe(run).model_dump(mode="json"))
    begun = record.begin(stage, mark="m", command=["sbatch", "--run"], log_starts=0)
    number = slurm("sbatch", "--parsable", "--hold", "-o", "/dev/null", "--wrap", "true").strip()
    record.with_job(stage, begun, Job(number))
    yield number
    slurm("scancel", number)


def _recipe(run: Run, **changes: Any) -> Recipe:
    return Recipe.model_validate(
        {"name": "mine", "output_root": str(run.root.parent), "launch": {"backend": "slurm"}}
        | changes
    )


def _standing(run: Run, *, stages: str = "sft", how: Any = None, **changes: Any) -> dict[Any, str]:
    given = {"force": (), "own": False, **(how or {})}
    return standing_jobs(run, _recipe(run, **changes), stages=stages.split(), **given)


def test_a_job_in_the_queue_is_found_and_told(run: Run, job: str) -> None:
    assert _standing(run) == {"sft": f"Slurm job {job} is at work on sft"}


def test_a_job_that_ended_does_not_stand(run: Run, job: str, slurm: Cluster) -> None:
    slurm("scancel", job)
    assert _standing(run) == {}


def test_a_record_of_an_end_is_not_asked_about(run: Run, job: str) -> None:
    found = record.read(run.stage("sft"))
    assert found is not None
    record.end(run.stage("sft"), found, State("COMPLETED"))
    assert _standing(run) == {}


def test_a_number_that_is_another_job_by_now_does_not_stand(
    run: Run, job: str, slurm: Cluster
) -> None:
    """A controller that lost its state counts from 1 again."""
    begun = record.begin(
        run.stage("sft"), mark="m", command=["sbatch", "--job-name=mine-sft"], log_starts=0
    )
    record.with_job(run.stage("sft"), begun, Job(job))
    assert _standing(run) == {}
    slurm("scontrol", "update", f"JobId={job}", "Comment=m")  # renamed by its owner
    assert _standing(run) != {}


def test_other_settings_are_refused_before_they_are_written(run: Run, job: str) -> None:
    for stages in ("sft", "data"):
        with pytest.raises(UsageError, match=r"with other settings: seed 42 → 7") as caught:
            _standing(run, stages=stages, seed=7)
        assert f"scancel {job}" in str(caught.value.hint)
    # A question that is asked by itself writes only its own stage's configuration.
    assert _standing(run, stages="eval", how={"own": True}, seed=7)


@pytest.mark.usefixtures("job")
def test_how_it_is_launched_may_differ(run: Run) -> None:
    assert _standing(run, launch={"backend": "slurm", "slurm": {"poll_s": 1.0}})


@pytest.mark.usefixtures("job")
def test_the_same_stage_is_not_started_beside_the_job(run: Run) -> None:
    with pytest.raises(UsageError, match="it cannot be started here as well"):
        _standing(run, launch={"backend": "local"})
    with pytest.raises(UsageError, match="it cannot be begun afresh now"):
        _standing(run, how={"force": ("sft",)})
    # Another stage may be.
    assert _standing(run, launch={"backend": "local"}, stages="data")


@pytest.mark.usefixtures("job")
@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("SLURM_CONF", "does not answer: .*Unable to contact slurm controller", "scontrol ping"),
        ("PATH", "and there is no Slurm here to ask", "slurm.json"),
    ],
)
def test_where_nobody_can_tell_the_command_ends(
    run: Run,
    slurm: Cluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    message: str,
    hint: str,
) -> None:
    with monkeypatch.context() as here:
        here.setenv(name, slurm.unanswered(tmp_path) if name == "SLURM_CONF" else "/nowhere")
        with pytest.raises(EnvironmentProblem, match=message) as caught:
            _standing(run)
    assert hint in str(caught.value.hint)


@pytest.mark.usefixtures("job")
def test_nothing_is_submitted_where_the_cluster_does_not_answer(
    run: Run, slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for()
    before = record.read(run.stage("sft"))
    with monkeypatch.context() as here:
        here.setenv("SLURM_CONF", slurm.unanswered(tmp_path))
        with pytest.raises(EnvironmentProblem, match="sft has a Slurm job, and the cluster"):
            jobs.start(plan_for(run, "sft", settings), settings)
    assert record.read(run.stage("sft")) == before


def test_a_record_that_cannot_be_read_is_an_error_with_a_place(run: Run) -> None:
    path = record.path_of(run.stage("sft"))
    write_json(path, {"job": 1, "what": 2})
    with pytest.raises(DataError, match="the record of the stage's job cannot be read") as caught:
        _standing(run)
    assert caught.value.where == str(path)
