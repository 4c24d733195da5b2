"""How is a request to stop heard between two launches, and what is told of the stage it ended?

While processes run, `local.start` takes the signals and passes them on. Before, between and after,
they are noted, and answered where nothing is lost: before the next stage, and before each attempt.
"""

from __future__ import annotations

import atexit
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from zephyrctl.config.schema.launch import Launch
from zephyrctl.errors import Interrupted, StoppedEarly, Terminated, ZephyrctlError
from zephyrctl.runs import signals
from zephyrctl.runs.store import StageDir


@dataclass
class Request:
    """What was asked of this process while processes or a job worked for it."""

    first: int | None = None
    at: float = 0.0
    """When, by the monotonic clock."""
    again: bool = False
    """A further Ctrl-C means now. A repeated SIGTERM does not: clusters send it twice."""

    def receive(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.first is None:
            self.first = number
            self.at = time.monotonic()
        elif number == signal.SIGINT:
            self.again = True


@contextmanager
def taking(request: Request, numbers: Iterable[signal.Signals]) -> Iterator[None]:
    """Let `request` receive these signals for the time of the block."""
    before = {number: signal.signal(number, request.receive) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def listening(settings: Launch) -> Iterator[None]:
    """Note requests to stop for the time of a command that carries out stages. Ctrl-C is left as it
    is: where no processes run, it ends the command at once.

    Further requests change nothing after one that ended it: a cluster sends SIGTERM twice, and the
    second must not cost the exit code.
    """
    numbers = [signal.SIGTERM, signal.SIGUSR1]
    # A lost connection leaves a cluster's job alone, and what nohup started.
    if settings.backend == "local" and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    signals.install(numbers)
    try:
        yield
    except (StoppedEarly, Interrupted, Terminated):
        # Noted until the exit, and then no more: the interpreter gives our handlers back.
        atexit.register(_ignore, numbers)
        raise
    except BaseException:
        _restore(before)
        raise
    _restore(before)


def resumable(error: ZephyrctlError, stage: StageDir) -> ZephyrctlError:
    """StoppedEarly in the place of Terminated, where the same command goes on from what stands."""
    stands = stage.resumable_work()
    if not isinstance(error, Terminated) or stands is None:
        return error
    return StoppedEarly(
        f"{stage.name} {error.message}; {stands}",
        where=str(stage.path),
        hint="the same command goes on from there",
    )


@contextmanager
def stopping_early(stage: StageDir) -> Iterator[None]:
    """Raise `resumable` errors, for what is done around the processes of a stage."""
    try:
        yield
    except Terminated as error:
        raise resumable(error, stage) from None


def _ignore(numbers: Sequence[int]) -> None:
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)


def _restore(before: dict[signal.Signals, signal._HANDLER]) -> None:
    for number, handler in before.items():
        signal.signal(number, handler)
