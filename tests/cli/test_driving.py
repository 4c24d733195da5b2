"""What a request to stop does where no stage runs."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.reports.run_files import finish_stage, make_run

from zephyrctl.cli import driving
from zephyrctl.errors import StoppedEarly
from zephyrctl.reports.html import write_report
from zephyrctl.runs import signals
from zephyrctl.runs.store import Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    found = make_run(tmp_path / "demo")
    for stage in ("data", "sft", "dpo"):
        finish_stage(found, stage)
    return found


@pytest.fixture(autouse=True)
def noting() -> Iterator[None]:
    """Requests are noted, as while a command carries out stages."""
    with signals.noting():
        yield
    signals.clear()


@pytest.fixture
def alarm() -> Iterator[None]:
    """A timer whose signal is a Ctrl-C."""
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_a_stop_since_the_last_stage_leaves_the_report_to_the_same_command(run: Run) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(
        StoppedEarly, match="the report was stopped by SIGTERM; every stage"
    ) as told:
        driving._report(run)
    assert told.value.hint == "the same command writes it"
    assert not (run.root / "report.html").exists()
    signals.clear()
    assert driving._report(run).is_file()


@pytest.mark.usefixtures("alarm")
def test_wherever_a_report_is_broken_off_the_one_before_stands_whole(run: Run) -> None:
    page = write_report(run)
    whole = page.read_bytes()
    began = time.monotonic()
    write_report(run)
    takes, struck = time.monotonic() - began, 0
    for place in range(1, 6):
        signal.setitimer(signal.ITIMER_REAL, takes * place / 6)
        try:
            write_report(run)
        except KeyboardInterrupt:
            struck += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        assert page.read_bytes() == whole
        assert not list(run.root.glob("*.partial*"))
        assert not list(run.root.glob(".*partial*"))
    assert struck


def test_the_next_report_clears_what_a_killed_one_left(run: Run) -> None:
    dead = run.root / f".report.html.partial-{os.uname().nodename}~4194399~00ff"
    dead.write_text("half a page")
    write_report(run)
    assert not dead.exists()
