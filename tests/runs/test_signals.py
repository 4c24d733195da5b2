"""A request to stop sets a flag and nothing else."""

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
