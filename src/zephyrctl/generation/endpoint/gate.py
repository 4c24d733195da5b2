"""Who is sent next? Requests wait in line until the pace lets one go."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from time import monotonic

from zephyrctl.generation.endpoint.pace import Pace, Ticket


class Closed(Exception):
    """Nothing is sent any more."""


class Gate:
    """A line of requests before a pace, within one event loop."""

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self._line: deque[tuple[asyncio.Future[Ticket], int]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self.closed = asyncio.Event()

    async def enter(self, tokens: int) -> Ticket:
        """Wait for leave to send a request of `tokens`; Closed where no more are sent."""
        if self.closed.is_set():
            raise Closed
        place: asyncio.Future[Ticket] = asyncio.get_running_loop().create_future()
        self._line.append((place, tokens))
        self._let_go()
        try:
            return await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                self.leave(place.result())
            raise

    def leave(self, ticket: Ticket, headers: Mapping[str, str] | None = None) -> None:
        """A request is back, whatever became of it."""
        self.pace.back(ticket, monotonic(), headers or {})
        self._let_go()

    def close(self) -> None:
        """Send nothing more; those in line get Closed."""
        self.closed.set()
        self._set_timer(None)
        while self._line:
            place, _ = self._line.popleft()
            if not place.done():
                place.set_exception(Closed())

    async def pause(self, seconds: float) -> None:
        """Wait outside the line; Closed as soon as nothing is sent any more."""
        try:
            async with asyncio.timeout(seconds):
                await self.closed.wait()
        except TimeoutError:
            return
        raise Closed

    def _let_go(self) -> None:
        while self._line and not self.closed.is_set():
            place, tokens = self._line[0]
            if place.done():
                self._line.popleft()
                continue
            now = monotonic()
            wait = self.pace.wait(now, tokens=tokens)
            if wait is None or wait > 0:
                self._set_timer(wait)
                return
            self._line.popleft()
            place.set_result(self.pace.sent(now, tokens=tokens))

    def _set_timer(self, wait: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = None if wait is None else loop.call_later(wait, self._let_go)
