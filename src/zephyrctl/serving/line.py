"""May one more request come in, and how much of it?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from zephyrctl.serving.protocol import Refusal
from zephyrctl.sizes import MIB, size_words

LARGEST_BODY = 8 * MIB
MOST_HELD = 64 * MIB
"""Bytes of all bodies that are held at once, which are read and not yet answered."""
MOST_OPEN = 1024
"""Requests that are read, wait or are answered; more are told to come back."""


class Line:
    """The requests of a server that are open. For the event loop's thread only."""

    def __init__(self, *, most: int = MOST_OPEN) -> None:
        self._most = most
        self.open = 0
        self.held = 0
        self.is_draining = False

    def drain(self) -> None:
        """Let nobody in any more."""
        self.is_draining = True

    @contextmanager
    def place(self) -> Iterator[Place]:
        """A place for one request; Refusal with 503 where there is none."""
        if self.is_draining:
            raise Refusal("the server is stopping", status=503, code="shutting_down")
        if self.open >= self._most:
            raise Refusal(f"{self.open} requests are open already", status=503, code="overloaded")
        self.open += 1
        place = Place(self)
        try:
            yield place
        finally:
            self.open -= 1
            self.held -= place.held


class Place:
    """What one open request holds."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self.held = 0

    def hold(self, size: int) -> None:
        """Take `size` more bytes of a body; Refusal where it or all together become too large."""
        if self.held + size > LARGEST_BODY:
            raise Refusal(f"the body is over {size_words(LARGEST_BODY)}", status=413)
        if self._line.held + size > MOST_HELD:
            raise Refusal(
                f"open requests hold {size_words(MOST_HELD)} already", status=503,
                code="overloaded",
            )  # fmt: skip
        self.held += size
        self._line.held += size
