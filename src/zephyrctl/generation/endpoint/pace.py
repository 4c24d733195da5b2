"""How many requests may be under way, and when may the next one be sent?

Starts modest, grows while replies come, halves where the service is pressed, and keeps within what
its rate-limit headers leave. Pure: the time is an argument, so that every rule can be tested.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from zephyrctl.generation.endpoint.limits import Remaining, remaining

FIRST = 8
"""Requests at once after the first reply."""
LEAD_S = 2.0
"""How long the first request goes alone: a service refuses a parameter at once, and what the first
learns the others need not learn."""
LONGEST_S = 60.0
"""Longest time without a request because of headers: a service that means longer answers the next
one with a 429 and its Retry-After."""


@dataclass(frozen=True)
class Ticket:
    """A request under way: its place among all that were sent, and what was sent up to it."""

    number: int
    spent: Mapping[str, float]


@dataclass(frozen=True)
class _Said:
    """What the newest headers said of one resource, when, and up to which request."""

    remaining: Remaining
    at: float
    number: int
    spent: float


@dataclass
class Pace:
    """The rules over time. `most` is never passed; `limit` is how many may be under way now."""

    most: int
    limit: float = 1.0
    under_way: int = 0
    halvings: int = 0
    _is_led: bool = False
    _lead_until: float = 0.0
    _is_doubling: bool = True
    _number: int = 0
    _last_sent: float = 0.0
    _halved_at: int = 0
    _paused_until: float = 0.0
    _spent: dict[str, float] = field(default_factory=lambda: {"requests": 0.0, "tokens": 0.0})
    _said: dict[str, _Said] = field(default_factory=dict)

    def wait(self, now: float, *, tokens: int) -> float | None:
        """Seconds until a request of `tokens` may be sent; None until one comes back."""
        if self.pause_left(now) > 0:
            return self.pause_left(now)
        if self.under_way >= int(self.limit):
            if self._is_led or self.under_way > 1:
                return None
            if now < self._lead_until:
                return self._lead_until - now
            self._lead()
            return self.wait(now, tokens=tokens)
        return min(self._header_wait(now, tokens), max(0.0, self._last_sent + LONGEST_S - now))

    def _header_wait(self, now: float, tokens: int) -> float:
        """Seconds until every resource has enough left, by the newest headers."""
        return max(
            (
                said.remaining.seconds_until(
                    1.0 if resource == "requests" else tokens,
                    since_s=now - said.at,
                    spent=self._spent[resource] - said.spent,
                )
                for resource, said in self._said.items()
            ),
            default=0.0,
        )

    def pause_left(self, now: float) -> float:
        """Seconds that the service still wants quiet."""
        return max(0.0, self._paused_until - now)

    def sent(self, now: float, *, tokens: int) -> Ticket:
        """Count a request out."""
        self.under_way += 1
        self._number += 1
        self._last_sent = now
        self._spent["requests"] += 1
        self._spent["tokens"] += tokens
        if not self._is_led:
            self._lead_until = now + LEAD_S
        return Ticket(self._number, dict(self._spent))

    def back(self, ticket: Ticket, now: float, headers: Mapping[str, str]) -> None:
        """Count a request in, whatever became of it, and read what the service says of its limits.

        The newest request's word counts: an older one may come back later.
        """
        self.under_way -= 1
        for resource, found in remaining(headers).items():
            known = self._said.get(resource)
            if known is None or ticket.number > known.number:
                self._said[resource] = _Said(found, now, ticket.number, ticket.spent[resource])

    def grow(self) -> None:
        """A reply came, and its request is not yet counted in.

        One more at once for each reply, so that the number doubles with every round; after the
        first halving an eighth with every round, but at most a sixteenth of the most. Where one
        more is added a round, a share p of odd 503s alone holds the number near sqrt(1.5 / p).
        """
        if not self._is_led:
            self._lead()
        elif self.under_way >= int(self.limit):  # what is not used up need not grow
            a_round = max(1.0, min(self.most / 16, self.limit / 8))
            step = 1.0 if self._is_doubling else a_round / self.limit
            self.limit = min(self.most, self.limit + step)

    def press(self, ticket: Ticket, now: float, *, pause: float | None) -> None:
        """The service is pressed: everybody waits `pause` seconds, and half as many go on.

        Halved once a round: requests sent before the last halving tell nothing new.
        """
        if pause is not None:
            self._paused_until = max(self._paused_until, now + pause)
        if ticket.number <= self._halved_at:
            return
        self._halved_at = self._number
        self._is_doubling = False
        self.halvings += 1
        self.limit = max(1.0, self.limit / 2)

    def _lead(self) -> None:
        """Let the others follow the first request."""
        self._is_led = True
        self.limit = float(min(self.most, FIRST))
