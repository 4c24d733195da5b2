"""What does a service say of its rate limits?

OpenAI's header names, which other services copy: how many requests and tokens remain, and how long
until all of them are back. Retry-After is HTTP's own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

RESOURCES = ("requests", "tokens")
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|us|µs|ns|d|h|m|s))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|d|h|m|s)")
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_LONGEST_S = 7 * 86400.0


@dataclass(frozen=True)
class Remaining:
    """What a service said remains of one resource, and in how many seconds all of it is back."""

    left: float
    reset_s: float
    limit: float | None = None

    def seconds_until(self, wanted: float, *, since_s: float, spent: float) -> float:
        """Seconds until `wanted` more may be used, where `spent` was used in the `since_s` since.

        The reset is "the time until the rate limit resets to its initial state" (OpenAI's guide to
        rate limits), so what was used comes back evenly over it. Without a limit the rate of that
        is unknown, and nothing counts as back before the reset.
        """
        to_reset = max(0.0, self.reset_s - since_s)
        if self.limit is None:
            return 0.0 if self.left - spent >= wanted else to_reset
        used = self.limit - self.left
        rate = used / self.reset_s if used > 0 and self.reset_s > 0 else 0.0
        there = min(self.limit, self.left - spent + rate * since_s)
        missing = min(wanted, self.limit) - there
        if missing <= 0:
            return 0.0
        return missing / rate if rate > 0 else to_reset


def remaining(headers: Mapping[str, str]) -> dict[str, Remaining]:
    """What `x-ratelimit-…` says, by resource; a resource without a reset is left out."""
    found: dict[str, Remaining] = {}
    for resource in RESOURCES:
        left = _number(headers.get(f"x-ratelimit-remaining-{resource}"))
        if left is None:
            continue
        reset_s = seconds_of(headers.get(f"x-ratelimit-reset-{resource}"))
        if reset_s is not None:
            limit = _number(headers.get(f"x-ratelimit-limit-{resource}"))
            found[resource] = Remaining(left, reset_s, limit)
    return found


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of `retry-after-ms` or Retry-After, which holds a number or a date."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    if value is None:
        return None
    seconds = seconds_of(value)
    if seconds is not None:
        return seconds
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def seconds_of(text: str | None) -> float | None:
    """Seconds of a duration such as `1s`, `6m0s`, `120ms` or a bare number; None for anything
    else, a point in time among it."""
    if text is None:
        return None
    text = text.strip()
    if _DURATION.fullmatch(text):
        return sum(float(count) * _SECONDS[unit] for count, unit in _PART.findall(text))
    seconds = _number(text)
    return seconds if seconds is not None and seconds < _LONGEST_S else None


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else -1.0
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None
