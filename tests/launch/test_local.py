"""Processes are started together, stopped together, and leave nobody behind."""

import json
import os
import signal
import subprocess
import time

import pytest
from tests.launch.planned import plan_for
from tests.launch.supervised import at_work, end_of, supervise, wait_for

from zephyrctl.config.schema.launch import Launch
from zephyrctl.errors import (
    DataError,
    DiskFull,
    EnvironmentProblem,
    JobFailed,
    JobHung,
    Terminated,
    ZephyrctlError,
)
from zephyrctl.launch import local
from zephyrctl.launch.local import start
from zephyrctl.runs import signals
from zephyrctl.runs.store import Run, StageName


def _start(run: Run, stage: StageName, work: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZEPHYRCTL_TEST_WORK", work)
    start(plan_for(run, stage, processes=2), Launch())


def test_two_processes_add_over_gloo(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    _start(run, "sft", "finish", monkeypatch)
    manifest = run.stage("sft").read_manifest()
    assert manifest is not None
    assert (manifest.state, manifest.world_size) == ("finished", 2)
    # 1 + 2, summed once more on both ranks.
    assert manifest.metrics == {"total": 6.0}
    for rank in (0, 1):
        assert f"rank {rank} of 2" in (run.stage("sft").logs / f"rank{rank}.log").read_text()
    assert not (run.stage("sft").logs / "elastic").exists()


def test_the_rank_that_refused_is_named_and_its_class_survives(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DiskFull, match="no space for the checkpoint"):
        _start(run, "sft", "rank 1 refuses", monkeypatch)


def test_a_rank_killed_by_the_kernel_is_named_with_its_last_lines(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(JobFailed, match="rank 1 was killed by SIGKILL") as caught:
        _start(run, "sft", "rank 1 is killed", monkeypatch)
    assert "last words of rank 1" in caught.value.message
    wait_for(lambda: not at_work(run), seconds=20)


@pytest.mark.parametrize(
    ("work", "kind", "message"),
    [
        ("refuse", DataError, "row 3 is broken"),
        ("crash", JobFailed, "rank 0 failed: RuntimeError: boom"),
        ("full", DiskFull, "no space left while the data stage was writing"),
        ("segfault", JobFailed, "rank 0 was killed by SIGSEGV"),
    ],
)
def test_the_error_of_a_plain_child_arrives(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    work: str,
    kind: type[ZephyrctlError],
    message: str,
) -> None:
    with pytest.raises(kind, match=message):
        _start(run, "data", work, monkeypatch)


def test_what_a_stage_prints_goes_to_its_log_only(
    run: Run, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    polls: list[int] = []
    monkeypatch.setenv("ZEPHYRCTL_TEST_WORK", "finish")
    start(plan_for(run, "data"), Launch(), on_poll=lambda: polls.append(1))
    assert "working on mine" in (run.stage("data").logs / "rank0.log").read_text()
    assert capfd.readouterr() == ("", "")
    assert polls


@pytest.mark.parametrize(
    ("sent", "work", "code", "message"),
    [
        (signal.SIGINT, "wait", 130, "nothing of it was saved"),
        (signal.SIGINT, "checkpoint", 130, "checkpoint-5 stands"),
        (signal.SIGTERM, "wait", 143, "before anything could be saved"),
        (signal.SIGTERM, "checkpoint", 75, "checkpoint-5 stands"),
        (signal.SIGUSR1, "checkpoint", 75, "checkpoint-5 stands"),
        (signal.SIGHUP, "wait", 143, "SIGHUP"),
        # After the first two another attempt would follow, though somebody asked to stop.
        (signal.SIGTERM, "out of memory", 75, "checkpoint-5 stands"),
        (signal.SIGTERM, "hung", 75, "checkpoint-5 stands"),
        (signal.SIGTERM, "diverged", 6, "the end of a rank"),
    ],
)
def test_a_request_to_stop_is_passed_on_once_and_has_its_exit_code(
    run: Run, sent: signal.Signals, work: str, code: int, message: str
) -> None:
    child = supervise(run, "data", work)
    wait_for((run.stage("data").path / "ready").exists)
    child.send_signal(sent)
    ended, output = end_of(child)
    assert ended == code
    assert output[0].startswith("stopping data: up to 10 s to save")
    assert message in json.loads(output[-1])["message"]
    assert at_work(run) == []


def test_a_closed_terminal_stops_nothing_that_was_started_to_outlive_it(run: Run) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        child = supervise(run, "data", "wait")
    finally:
        signal.signal(signal.SIGHUP, before)
    wait_for((run.stage("data").path / "ready").exists)
    child.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    child.terminate()
    ended, output = end_of(child)
    assert (ended, "SIGTERM" in output[-1]) == (143, True)


def test_a_stop_that_was_asked_for_before_starts_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with signals.noting():
        os.kill(os.getpid(), signal.SIGTERM)
    try:
        with pytest.raises(Terminated, match="stopped by SIGTERM"):
            _start(run, "data", "finish", monkeypatch)
    finally:
        signals.clear()
    assert not list(run.stage("data").logs.iterdir())


def test_a_cluster_that_terminates_twice_asks_once(run: Run) -> None:
    child = supervise(run, "data", "checkpoint")
    wait_for((run.stage("data").path / "ready").exists)
    child.terminate()
    child.terminate()
    ended, output = end_of(child)
    assert ended == 75
    assert [line for line in output if line.startswith("stopping")] == output[:1]


def test_a_hang_ends_with_the_stack_of_every_rank(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZEPHYRCTL_TEST_WORK", "hang")
    plan = plan_for(run, "sft", processes=2, hang_after_s=2.0)
    with pytest.raises(JobHung, match=r"ranks 0, 1 did nothing for \d+ s") as caught:
        start(plan, Launch())
    stacks = {path.name: path.read_text() for path in plan.log_dir.glob("stacks-*")}
    assert sorted(stacks) == ["stacks-rank0.txt", "stacks-rank1.txt"]
    assert "in _wait_in_vain" in stacks["stacks-rank0.txt"]
    assert "in _sleep" in stacks["stacks-rank1.txt"]
    assert all(str(plan.log_dir / name) in (caught.value.where or "") for name in stacks)
    assert at_work(run) == []


def test_a_deaf_stage_is_killed_after_its_grace(run: Run) -> None:
    child = supervise(run, "data", "deaf", grace_s=0.3)
    wait_for((run.stage("data").path / "ready").exists)
    began = time.monotonic()
    child.terminate()
    assert end_of(child)[0] == 143
    assert 0.3 <= time.monotonic() - began < 20
    assert at_work(run) == []


def test_a_second_ctrl_c_kills_at_once(run: Run) -> None:
    child = supervise(run, "data", "deaf", grace_s=60.0)
    assert child.stdout is not None
    wait_for((run.stage("data").path / "ready").exists)
    child.send_signal(signal.SIGINT)
    assert "Ctrl-C again to kill" in child.stdout.readline()
    child.send_signal(signal.SIGINT)
    began = time.monotonic()
    assert end_of(child)[0] == 130
    assert time.monotonic() - began < 20
    assert at_work(run) == []


def test_a_program_that_a_killed_rank_started_does_not_outlive_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(JobFailed, match="rank 0 was killed by SIGKILL"):
        _start(run, "data", "spawn", monkeypatch)
    assert at_work(run) == []


def test_no_process_survives_a_kill_of_the_parent(run: Run) -> None:
    child = supervise(run, "data", "fork")
    wait_for((run.stage("data").path / "ready").exists)
    assert len(at_work(run)) == 3  # the supervisor, the worker and what the worker forked
    child.kill()
    child.communicate()
    wait_for(lambda: not at_work(run), seconds=20)


def test_a_process_that_not_even_a_kill_ends_is_named_and_not_waited_for() -> None:
    class Stuck(subprocess.Popen[bytes]):
        """A process in the kernel's hands: it has the signal, and does not end."""

        def wait(self, timeout: float | None = None) -> int:
            assert timeout is not None, "it would be waited for without end"
            raise subprocess.TimeoutExpired(self.args, timeout)

    child = Stuck(["sleep", "60"], start_new_session=True)
    with pytest.raises(EnvironmentProblem, match=f"process {child.pid} was killed and does not"):
        local._end_all(child, mark="none")
    assert os.waitpid(child.pid, 0)[1] == signal.SIGKILL
