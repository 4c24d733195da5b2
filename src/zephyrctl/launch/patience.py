"""How long does one machine wait for another, and how does it end its own part early?"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field

GONE_S = 60.0
"""A machine without a beat for so long is gone. Network disks show a change late, by up to 30 s."""
JOIN_S = 600.0
"""Machines wait this long for each other before the first part."""
LATE_S = 15.0
"""What a machine gets to end by itself after another one ended."""
LOOK_S = 0.5
"""Seconds between two looks at the shared disk."""
_REMIND_S = 30.0
_MOMENT_S = 2.0
"""Shorter waits are not worth a word."""


@dataclass
class Patience:
    """A wait of which the user is reminded from time to time."""

    limit_s: float
    _began: float = field(default_factory=time.monotonic)
    _reminded: float | None = None

    def is_over(self) -> bool:
        """Whether it lasted too long."""
        return time.monotonic() - self._began > self.limit_s

    def reminder(self) -> str | None:
        """How long it lasts, in words, every half minute; empty the first time, else None."""
        now = time.monotonic()
        if now - (self._reminded or self._began) < (_REMIND_S if self._reminded else _MOMENT_S):
            return None
        first = self._reminded is None
        self._reminded = now
        return "" if first else f" ({now - self._began:.0f} of {self.limit_s:.0f} s)"


@dataclass
class Stopper:
    """Ends this machine's own part, by the signals that a user would send to it."""

    asked: float | None = None
    """When it was asked to end, by the monotonic clock."""
    _killed: bool = False
    _outside: object = field(default_factory=lambda: signal.getsignal(signal.SIGTERM))
    """What answers the signal while no part runs: it must not get ours."""

    def now(self) -> None:
        """Ask the part to end, and some time after have it killed; called again and again."""
        if signal.getsignal(signal.SIGTERM) == self._outside:
            return
        now = time.monotonic()
        if self.asked is None:
            self.asked = now
            os.kill(os.getpid(), signal.SIGTERM)
        elif not self._killed and now - self.asked > LATE_S:
            self._killed = True
            # A second signal of this kind means at once (launch/local.py).
            os.kill(os.getpid(), signal.SIGINT)
