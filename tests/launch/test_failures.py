"""The first failing rank is found, whatever it left behind."""

from typing import Any

import pytest

from zephyrctl.errors import DataError, JobFailed, StoppedEarly, Terminated, ZephyrctlError
from zephyrctl.launch.failures import first_failure, tail
from zephyrctl.runs.atomic import write_json
from zephyrctl.runs.store import Run, StageDir

PEER = ZephyrctlError("RuntimeError: Connection closed by peer")
REPORT = """
Other failures / Failures:
[0]:
  time      : 2026-11-22_10:00:01
  host      : vm
  rank      : 0 (local_rank: 0)
  exitcode  : 1 (pid: 10)
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  time      : 2026-11-22_10:00:00
  host      : vm
  rank      : 1 (local_rank: 1)
  exitcode  : {code} (pid: 11)
"""


@pytest.fixture
def stage(run: Run) -> StageDir:
    folder = run.stage("sft")
    folder.logs.mkdir(parents=True)
    return folder


def _leave(stage: StageDir, rank: int, *, t: float, error: ZephyrctlError) -> None:
    record: dict[str, Any] = {"error": error.to_json(), "rank": rank, "t": t}
    write_json(stage.path / f"error-rank{rank}.json", record)


def test_the_earliest_error_is_the_one_that_counts(stage: StageDir) -> None:
    _leave(stage, 0, t=2.0, error=PEER)
    _leave(stage, 1, t=1.0, error=DataError("row 3", where="a.jsonl:3", hint="fix"))
    found = first_failure(stage, 1, logs={})
    assert isinstance(found, DataError)
    assert (found.message, found.where, found.hint) == ("row 3", "a.jsonl:3", "fix")


def test_an_unexpected_error_comes_with_the_end_of_its_log(stage: StageDir) -> None:
    (stage.logs / "rank1.log").write_text("\n".join(f"line {n}" for n in range(50)))
    _leave(stage, 0, t=2.0, error=PEER)
    _leave(stage, 1, t=1.0, error=ZephyrctlError("ValueError: bad"))
    found = first_failure(stage, 1, logs={})
    assert isinstance(found, JobFailed)
    assert found.message.startswith("sft: rank 1 failed: ValueError: bad\n  | line 30\n")
    assert found.message.endswith("line 49")
    assert "--rank 1" in (found.hint or "")


@pytest.mark.parametrize(("code", "name"), [(-9, "SIGKILL"), (-11, "SIGSEGV"), (-6, "SIGABRT")])
def test_a_rank_that_a_signal_ended_goes_before_its_neighbours_complaint(
    stage: StageDir, code: int, name: str
) -> None:
    (stage.logs / "launcher.log").write_text(REPORT.format(code=code))
    (stage.logs / "rank1.log").write_text("last words\n")
    _leave(stage, 0, t=1.0, error=PEER)
    found = first_failure(stage, 1, logs={})
    assert f"rank 1 was killed by {name}" in found.message
    assert found.message.endswith("| last words")


def test_the_heading_of_an_attempt_is_no_line_of_its_log(stage: StageDir) -> None:
    heading = "--- sft, rank 0, process 11, 2026-11-22T10:00:00+00:00\n"
    (stage.logs / "rank0.log").write_text(heading)
    assert "  | " not in first_failure(stage, -9, logs={}).message
    (stage.logs / "rank0.log").write_text(heading + "ValueError: bad\n")
    assert first_failure(stage, -9, logs={}).message.endswith("\n  | ValueError: bad")


def test_a_killed_rank_is_found_also_where_its_neighbour_was_seen_first(stage: StageDir) -> None:
    (stage.logs / "launcher.log").write_text(
        "E1123 api.py:1002] failed (exitcode: 1) local_rank: 0 (pid: 10) of binary: python\n"
        "[1]:\n  rank      : 1 (local_rank: 1)\n  exitcode  : -9 (pid: 11)\n"
        "Root Cause (first observed failure):\n"
        "[0]:\n  rank      : 0 (local_rank: 0)\n  exitcode  : 1 (pid: 10)\n"
    )
    _leave(stage, 0, t=1.0, error=PEER)
    assert "rank 1 was killed by SIGKILL" in first_failure(stage, 1, logs={}).message


def test_a_rank_with_a_reason_goes_before_one_that_was_killed_with_it(stage: StageDir) -> None:
    (stage.logs / "launcher.log").write_text(REPORT.format(code=-9))
    _leave(stage, 0, t=1.0, error=DataError("row 3"))
    assert isinstance(first_failure(stage, 1, logs={}), DataError)


def test_an_older_attempts_report_and_log_do_not_count(stage: StageDir) -> None:
    launcher, rank0 = stage.logs / "launcher.log", stage.logs / "rank0.log"
    launcher.write_text(REPORT.format(code=-9))
    rank0.write_text("older\n")
    sizes = {path.name: path.stat().st_size for path in (launcher, rank0)}
    with launcher.open("a") as stream:
        stream.write("ModuleNotFoundError: No module named 'torch'\n")
    found = first_failure(stage, 1, logs=sizes)
    assert "exit code 1" in found.message
    assert "No module named 'torch'" in found.message
    assert "older" not in found.message


def test_the_tail_survives_bytes_that_are_no_text(stage: StageDir) -> None:
    path = stage.logs / "rank0.log"
    path.write_bytes(b"\xff\xfe\n" + b"x" * 100_000 + b"\nend\n")
    assert tail(path)[-1] == "end"
    assert tail(stage.logs / "absent.log") == []


def test_a_machine_that_left_no_reason_shows_its_own_launcher(stage: StageDir) -> None:
    (stage.logs / "rank0.log").write_text("rank 0 of machine 0\n")
    (stage.logs / "launcher-1.log").write_text("no module of that name here\n")
    found = first_failure(stage, 1, logs={}, launcher_log="launcher-1.log")
    assert "no module of that name here" in found.message
    assert "machine 0" not in found.message
    killed = first_failure(stage, -9, logs={}, launcher_log="launcher-1.log")
    assert "torchrun was killed by SIGKILL" in killed.message
    assert killed.where == str(stage.logs / "launcher-1.log")


@pytest.mark.parametrize("error", [Terminated("stopped by SIGTERM"), StoppedEarly("stopped")])
def test_a_rank_that_torchrun_stopped_after_a_kill_is_not_the_cause(
    stage: StageDir, error: ZephyrctlError
) -> None:
    _leave(stage, 0, t=1.0, error=error)
    (stage.logs / "launcher.log").write_text(REPORT.format(code=-9))
    assert "rank 1 was killed by SIGKILL" in first_failure(stage, 1, logs={}).message


def test_a_torn_error_of_one_rank_hides_nobody_elses(stage: StageDir) -> None:
    (stage.path / "error-rank0.json").write_text('{"error": {"kind": "da')
    _leave(stage, 1, t=2.0, error=DataError("row 3 is broken"))
    assert first_failure(stage, 1, logs={}).message == "row 3 is broken"
    (stage.path / "error-rank1.json").write_text("")
    assert "left no reason" in first_failure(stage, 1, logs={}).message
