"""How does the server listen, and how does it end without losing an answer?

At the first signal nobody is let in any more (503), and open answers go on; it ends with the last
of them. A limit, or a second Ctrl-C, breaks off what is open then, and tells whoever waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from zephyrctl import terminal
from zephyrctl.errors import EnvironmentProblem
from zephyrctl.serving.line import Line

_ENDING = (signal.SIGINT, signal.SIGTERM)
_KEEP_ALIVE_S = 75
"""Longer than clients keep an idle connection (httpx and with it OpenAI's client: 5 s): where both
keep it as long, a request can meet a connection that is just being closed."""
_FLUSH_S = 5
"""For the last bytes of answers that are complete, or were broken off."""


class Server(uvicorn.Server):
    """uvicorn, one process, quiet, which answers what is open before it ends."""

    def __init__(
        self, app: ASGIApp, *, line: Line, grace_s: float, break_off: Callable[[], None]
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app, lifespan="off", access_log=False, log_config=None, server_header=False,
                timeout_keep_alive=_KEEP_ALIVE_S, timeout_graceful_shutdown=_FLUSH_S,
            )
        )  # fmt: skip
        self._line = line
        self._grace_s = grace_s
        self._break_off = break_off
        self._end: float | None = None
        self._is_said = False
        """Whether the draining was told."""
        self.broken_off = 0
        """Answers that were open when patience ended."""
        self.is_impatient = False
        """Whether a second Ctrl-C came."""

    def drain(self) -> None:
        """Let nobody in any more, and end with the last open answer. From any thread."""
        if self._end is None:
            self._end = time.monotonic() + self._grace_s
            self._line.drain()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """See uvicorn, which ends at once; a signal handler."""
        del frame
        if self._end is None:
            self.drain()
        elif sig == signal.SIGINT:
            self.is_impatient = True

    async def on_tick(self, counter: int) -> bool:
        """See uvicorn: ten times a second; true ends it."""
        is_over = await super().on_tick(counter)
        if self._end is None or is_over:
            return is_over
        self._say_draining()
        if self._line.open and (self.is_impatient or time.monotonic() > self._end):
            self.broken_off = self._line.open
            if self.is_impatient:
                _below_the_sign()
            self._break_off()
            await self._told()
            return True
        return not self._line.open

    def _say_draining(self) -> None:
        """Say once what is waited for; not in the signal's handler, which may interrupt a print."""
        if self._is_said:
            return
        self._is_said = True
        _below_the_sign()
        if self._line.open:
            answers = "1 open answer" if self._line.open == 1 else f"{self._line.open} open answers"
            terminal.say(
                f"waiting for {answers}, {self._grace_s:.0f} s at most (Ctrl-C again breaks off)"
            )

    async def _told(self) -> None:
        """Wait until those whose answer was broken off have heard of it, but not for long."""
        end = time.monotonic() + _FLUSH_S
        while self._line.open and time.monotonic() < end:
            await asyncio.sleep(0.05)


def _below_the_sign() -> None:
    """Begin a new line after the ^C that a terminal shows."""
    if terminal.is_tty(sys.stderr):
        terminal.say("")


def run(server: Server, listener: socket.socket) -> None:
    """Serve on a bound socket until a signal has come and open answers are through."""
    with _signals_are_ours(), _log():
        try:
            server.run(sockets=[listener])
        except OSError as error:  # between our bind and uvicorn's listen another process came
            raise EnvironmentProblem(
                f"the port cannot be used: {error.strerror or error}", hint="--port 0"
            ) from error


@contextmanager
def _signals_are_ours() -> Iterator[None]:
    """Between the end of uvicorn's loop and ours a signal has nothing to end any more."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _ended_already) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ended_already(number: int, frame: FrameType | None) -> None:
    del number, frame


@contextmanager
def _log() -> Iterator[None]:
    """uvicorn's errors, one line each: a broken connection needs no traceback."""
    log = logging.getLogger("uvicorn.error")
    handler, passes_on = _Said(logging.ERROR), log.propagate
    log.addHandler(handler)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = passes_on


class _Said(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, asyncio.CancelledError) or "without completing" in record.msg:
            return  # we ended it ourselves, and said so
        reason = f": {type(error).__name__}" if error is not None else ""
        terminal.say(f"! {record.getMessage().strip().lower()}{reason}")
