"""A request to stop sets a flag and nothing else."""

import contextlib
import os
import signal
from collections.abc import Iterator

import pytest

from zephyrctl.errors import Interrupted, Terminated
from zephyrctl.runs import signals


@pytest.fixture(autouse=True)
def _own_handlers() -> Iterator[None]:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    before = {number: signal.getsignal(number) for number in numbers}
    signals.clear()
    signals.install()
    yield
    signals.clear()
    for number, handler in before.items():
        signal.signal(number, handler)


def test_nothing_happens_without_a_signal() -> None:
    assert signals.stop_signal() is None
    signals.raise_if_stopping()


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        ((signal.SIGTERM,), Terminated),
        ((signal.SIGUSR1,), Terminated),
        ((signal.SIGINT,), Interrupted),
        ((signal.SIGTERM, signal.SIGTERM, signal.SIGINT), Interrupted),
    ],
)
def test_the_flag_becomes_an_error_at_a_safe_place(
    sent: tuple[int, ...], error: type[Exception]
) -> None:
    for number in sent:
        os.kill(os.getpid(), number)
    with pytest.raises(error):
        signals.raise_if_stopping()


def test_work_that_a_stop_throws_away_is_left_in_its_middle() -> None:
    went_on = False
    with contextlib.suppress(Terminated), signals.at_once():
        os.kill(os.getpid(), signal.SIGTERM)
        went_on = True
    assert not went_on
    with pytest.raises(Terminated):
        signals.raise_if_stopping()


def test_after_it_a_request_waits_for_a_safe_place_again() -> None:
    with signals.at_once(), signals.at_once():
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    assert signals.stop_signal() == signal.SIGTERM
    with pytest.raises(Terminated), signals.at_once():
        pytest.fail("it began")


def test_a_library_that_swallows_the_error_does_not_swallow_the_request() -> None:
    with contextlib.suppress(Interrupted), signals.at_once():
        os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(Interrupted):
        signals.raise_if_stopping()


def test_a_process_that_works_for_another_leaves_signals_to_it() -> None:
    child = os.fork()
    if not child:
        signals.leave_to_parent()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            os.kill(os.getpid(), number)
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
