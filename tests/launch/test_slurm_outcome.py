"""How the end of a job becomes the error of the command."""

import json
from typing import Any

import pytest

from zephyrctl.errors import DataError, StoppedEarly, ZephyrctlError
from zephyrctl.launch.slurm.controller import State, parse
from zephyrctl.launch.slurm.outcome import failure
from zephyrctl.launch.slurm.submission import LOG
from zephyrctl.runs.store import Run


def _leave(run: Run, error: ZephyrctlError) -> None:
    record = {"error": error.to_json(), "rank": 0, "t": 1.0}
    (run.stage("sft").path / "error-rank0.json").write_text(json.dumps(record))


def _error(run: Run, state: State | None) -> dict[str, Any]:
    error = failure(run.stage("sft"), "17", state, log_starts=0)
    assert error is not None
    return error.to_json()


@pytest.fixture(autouse=True)
def _folder(run: Run) -> None:
    run.stage("sft").logs.mkdir(parents=True)


@pytest.mark.parametrize(
    ("state", "saved", "without", "message", "hint"),
    [
        ("TIMEOUT", 75, 143, "reached its time limit", "time_minutes"),
        ("DEADLINE", 75, 143, "reached its time limit", "time_minutes"),
        ("PREEMPTED", 75, 143, "had to make room", "the same command"),
        ("CANCELLED", 75, 143, "was cancelled", "the same command"),
        ("OUT_OF_MEMORY", 3, 3, "used more memory than the nodes gave it", "memory_gb"),
        ("NODE_FAIL", 1, 1, "a node of Slurm job 17 failed", "the same command"),
        ("BOOT_FAIL", 1, 1, "a node of Slurm job 17 failed", "the same command"),
    ],
)
def test_the_state_that_the_cluster_gives_decides_the_exit_code(
    run: Run, state: str, saved: int, without: int, message: str, hint: str
) -> None:
    error = _error(run, State(state, signal=15))
    assert error["code"] == without
    assert message in error["message"]
    assert hint in error["hint"]
    # A process that was asked to stop does not know why.
    _leave(run, StoppedEarly("stopped by SIGTERM"))
    (run.stage("sft").checkpoints / "checkpoint-6").mkdir(parents=True)
    error = _error(run, State(state, signal=15))
    assert error["code"] == saved
    assert message in error["message"]
    if saved == 75:
        assert "checkpoint-6 stands" in error["message"]


@pytest.mark.parametrize("state", ["FAILED", "TIMEOUT", "OUT_OF_MEMORY", "CANCELLED"])
def test_what_a_process_found_wrong_goes_before_the_state(run: Run, state: str) -> None:
    _leave(run, DataError("row 3 is broken"))
    assert _error(run, State(state, exit_code=2))["message"] == "row 3 is broken"


def test_what_the_script_found_wrong_is_an_error_of_the_environment(run: Run) -> None:
    log = run.stage("sft").logs / LOG
    log.write_text("noise\nerror: node n2 does not see X\x1b[2J\nhint: move it\nsrun: exited\n")
    error = _error(run, State("FAILED", exit_code=3))
    assert (error["code"], error["hint"]) == (3, "move it")
    assert error["message"] == "sft: Slurm job 17: node n2 does not see X"


def test_any_other_failure_shows_the_end_of_the_log(run: Run) -> None:
    (run.stage("sft").logs / LOG).write_text("srun: error: something\x1b]52;c;x\x07 odd\n")
    error = _error(run, State("FAILED", exit_code=1))
    assert error["code"] == 1
    assert "  | srun: error: something odd" in error["message"]


def test_a_job_without_a_log_could_not_see_the_folder(run: Run) -> None:
    error = _error(run, State("FAILED", exit_code=1))
    assert error["code"] == 3
    assert "output_root" in error["hint"]


def test_a_forgotten_job_counts_by_what_stands(run: Run) -> None:
    assert _error(run, None)["code"] == 143
    (run.stage("sft").checkpoints / "checkpoint-6").mkdir(parents=True)
    assert _error(run, None)["code"] == 75
    _leave(run, DataError("row 3 is broken"))
    assert _error(run, None)["code"] == 2


def test_a_job_that_ended_well_is_no_error(run: Run) -> None:
    _leave(run, DataError("of an earlier attempt"))
    assert failure(run.stage("sft"), "17", State("COMPLETED"), log_starts=0) is None


def test_a_state_is_read_from_scontrol() -> None:
    shown = (
        "JobId=17 JobName=mine-sft UserId=me(1000) JobState=PENDING Reason=BeginTime"
        " Dependency=(null) Requeue=1 Restarts=2 BatchFlag=1 ExitCode=75:0 NodeList="
        " Command=/x/job.sh --stage=sft"
    )
    state = parse(shown)
    assert state == State("PENDING", "BeginTime", 75, 0, 2, "")
    assert state.in_words() == "pending (BeginTime)"
    # Whoever names a folder may write what looks like a field; the real ones come before it.
    odd = parse("JobState=RUNNING Restarts=0 ExitCode=0:0 WorkDir=/data/x JobState=FAILED")
    assert (odd.name, odd.restarts) == ("RUNNING", 0)
    running = parse("JobState=RUNNING Reason=None NodeList=n[1-2] ExitCode=0:0")
    assert (running.in_words(), running.ended) == ("running on n[1-2]", False)
