"""How do events get from the model's thread to a client that may read slowly?"""

from __future__ import annotations

import asyncio
from collections import deque

from zephyrctl.serving.events import Event, Piece

_MANY = 64
"""Unread events from which on the text of a choice is joined to what it has there already."""


class Mailbox:
    """Events of one request that are not read yet, at most `_MANY` and a few for each choice.

    What they hold is bounded by the length of the answer. For the event loop's thread only.
    """

    def __init__(self) -> None:
        self._unread: deque[Event | Exception] = deque()
        self._come = asyncio.Event()

    def put(self, event: Event | Exception) -> None:
        """Add an event, or the exception that ends them."""
        self._come.set()
        if isinstance(event, Piece) and len(self._unread) >= _MANY:
            for place in reversed(range(len(self._unread))):
                other = self._unread[place]
                if isinstance(other, Piece) and other.choice == event.choice:
                    joined = Piece(
                        event.choice, other.text + event.text, other.scores + event.scores
                    )
                    self._unread[place] = joined
                    return
        self._unread.append(event)

    async def get(self) -> Event:
        """The next event; raises the exception that came in its place."""
        while not self._unread:
            self._come.clear()
            await self._come.wait()
        event = self._unread.popleft()
        if isinstance(event, Exception):
            raise event
        return event


class Post:
    """Carries what happens in a pass from the model's thread to the event loop, all at once."""

    def __init__(self) -> None:
        self._bag: list[tuple[Mailbox, Event | Exception]] = []
        self.loop: asyncio.AbstractEventLoop | None = None

    def drop(self, mailbox: Mailbox, event: Event | Exception) -> None:
        """Put an event into the bag; in the model's thread."""
        self._bag.append((mailbox, event))

    def carry(self) -> None:
        """Bring the bag over; in the model's thread."""
        if not self._bag or self.loop is None:
            return
        bag, self._bag = self._bag, []

        def deliver() -> None:
            for mailbox, event in bag:
                mailbox.put(event)

        try:
            self.loop.call_soon_threadsafe(deliver)
        except RuntimeError:  # the loop is closed: nobody reads any more
            return
