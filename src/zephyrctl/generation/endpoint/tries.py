"""How long is one request tried again, and how long is waited between two tries?"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from zephyrctl.errors import NetworkError
from zephyrctl.generation.endpoint.failures import TryAgain, unreached

_UNREACHED = 4
"""Tries at an address where nobody has answered yet: most likely no service runs there."""


@dataclass(frozen=True)
class Patience:
    """One try may take `timeout_s`, a request with all its tries and waits `deadline_s`.

    Waits double from `first_s` to `longest_s`, each drawn from its upper half, so that requests
    that failed together do not come back together.
    """

    timeout_s: float = 120.0
    deadline_s: float = 900.0
    first_s: float = 0.5
    longest_s: float = 30.0

    def wait(self, tries: int, rng: random.Random) -> float:
        """Seconds to wait after `tries` failures."""
        return min(self.longest_s, self.first_s * 2.0 ** min(tries - 1, 30)) * rng.uniform(0.5, 1)


@dataclass
class Tries:
    """The tries of one request, which began at `began` on the caller's clock."""

    patience: Patience
    began: float
    where: str
    count: int = 0
    reason: str = ""
    rng: random.Random = field(default_factory=random.Random)

    def seconds_left(self, now: float) -> float:
        """Seconds that the next try may take; NetworkError where the deadline is over."""
        left = self.began + self.patience.deadline_s - now
        if left <= 0:
            raise self._given_up("")
        return min(self.patience.timeout_s, left)

    def wait_after(self, failure: TryAgain, *, now: float, pause: float, is_known: bool) -> float:
        """Seconds before the next try.

        `pause` is how long the service asked for quiet, `is_known` whether it ever answered.
        NetworkError where nothing can come of another try before the deadline.
        """
        self.count += 1
        if now < self.began + self.patience.deadline_s or not self.reason:
            self.reason = str(failure)  # not that the deadline cut the last try short
        wait = self.patience.wait(self.count, self.rng)
        if failure.is_unreached and not is_known and self.count >= _UNREACHED:
            raise unreached(failure, where=self.where)
        if now + max(wait, pause) >= self.began + self.patience.deadline_s:
            asked = f"; it asks to wait {round(pause, 1):g} s" if pause > wait else ""
            raise self._given_up(asked)
        return wait

    def _given_up(self, asked: str) -> NetworkError:
        tries = "1 try" if self.count == 1 else f"{self.count} tries"
        return NetworkError(
            f"no answer within {self.patience.deadline_s:g} s, in {tries}: {self.reason}{asked}",
            where=self.where,
            hint="the same command goes on from here; what was answered is kept",
        )
