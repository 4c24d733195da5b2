"""A request to stop is heard also where no processes run, and costs no exit code."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.launch.planned import plan_for

from zephyrctl.config.schema import Recipe
from zephyrctl.config.schema.launch import Launch
from zephyrctl.errors import DataError, JobFailed, StoppedEarly, Terminated
from zephyrctl.launch import local
from zephyrctl.launch.restarts import keep_going
from zephyrctl.launch.stopping import listening, stopping_early
from zephyrctl.runs import signals
from zephyrctl.runs.store import Run

REPOSITORY = Path(__file__).parents[2]
NUMBERS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)


@pytest.fixture(autouse=True)
def _own_handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in NUMBERS}
    signals.clear()
    yield
    signals.clear()
    for number, handler in before.items():
        signal.signal(number, handler)


def _save(run: Run, step: int) -> None:
    folder = run.stage("sft").checkpoints / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")


@pytest.mark.parametrize("sent", NUMBERS)
def test_a_request_between_two_attempts_keeps_what_the_first_one_saved(
    run: Run, sent: signal.Signals
) -> None:
    stage = run.stage("sft")
    attempts: list[int] = []

    def attempt() -> None:
        attempts.append(len(attempts))
        if attempts == [0]:
            _save(run, 3)
            raise JobFailed("rank 1 was killed")
        local.start(plan_for(run, "sft"), Launch())

    with (
        pytest.raises(StoppedEarly, match=rf"sft stopped by {sent.name}; checkpoint-3 stands"),
        listening(Launch()),
        stopping_early(stage),
    ):
        keep_going(
            stage,
            Recipe(name="mine"),
            attempt=attempt,
            say=lambda text: os.kill(os.getpid(), sent),
        )
    assert attempts == [0, 1]
    assert not list(stage.logs.glob("*"))


def test_a_request_before_anything_stands_is_told_as_such(run: Run) -> None:
    with listening(Launch()):
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Terminated), stopping_early(run.stage("sft")):
            signals.raise_if_stopping()


def test_a_command_that_ended_otherwise_gives_the_signals_back() -> None:
    before = [signal.getsignal(number) for number in NUMBERS]
    with listening(Launch()):
        assert signal.getsignal(signal.SIGTERM) != before[0]
    with pytest.raises(DataError), listening(Launch()):
        raise DataError("row 3")
    assert [signal.getsignal(number) for number in NUMBERS] == before


def test_a_closed_terminal_leaves_a_job_of_a_cluster_alone() -> None:
    before = signal.getsignal(signal.SIGHUP)
    with listening(Launch(backend="slurm")):
        assert signal.getsignal(signal.SIGHUP) == before


def test_requests_that_go_on_until_the_exit_do_not_cost_its_code(run: Run) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.launch.ending", str(run.root)],
        env={**os.environ, "ZEPHYRCTL_TEST_WORK": "checkpoint"},
        cwd=REPOSITORY,
    )
    deadline = time.monotonic() + 60
    while not (run.stage("data").path / "ready").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    while child.poll() is None:
        child.terminate()
        time.sleep(0.002)
    assert child.returncode == 75
