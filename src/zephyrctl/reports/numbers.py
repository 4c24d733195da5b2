"""How is a number, a duration or a clock time written for people?"""

from __future__ import annotations

import math
import time

NOTHING = "–"


def number(value: object, *, digits: int = 4) -> str:
    """A metric's value; small learning rates keep their size (5e-7 is `5e-07`, never `0.000`)."""
    if value is None:
        return NOTHING
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if not math.isfinite(value):
        return str(float(value))
    if isinstance(value, int):
        return str(value)
    size = abs(value)
    if size >= 1e15:
        return f"{value:.3g}"
    if size >= 10**digits:
        return f"{value:.0f}"
    return f"{value:.{digits if value == 0 or size >= 1e-3 else 3}g}"


def fixed(value: object, places: int) -> str:
    """`value` with a fixed number of decimals, for columns; what would round to 0 is not fixed."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return number(value)
    if value != 0 and abs(value) < 0.5 * 10**-places:
        return f"{value:.1e}"
    return f"{value:.{places}f}"


def compact(value: float) -> str:
    """A large count in three digits: 148000 is `148k`."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.3g}"


def percent(rate: float, *, places: int = 0) -> str:
    """A rate from 0 to 1 as a percentage."""
    return f"{100 * rate:.{places}f} %"


def duration(seconds: float | None) -> str:
    """`3 s`, `58:12` or `1:12:40`."""
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    if seconds < 10:
        return f"{max(0.0, seconds):.2g} s" if seconds < 1 else f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return stopwatch(whole)


def stopwatch(seconds: float | None) -> str:
    """`0:06`, `24:52` or `1:12:40`: for what is redrawn every moment."""
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    whole = round(max(0.0, seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def clock_time(epoch: float, *, now: float) -> str:
    """The local time of day, with its date where that is not today's."""
    there, here = time.localtime(epoch), time.localtime(now)
    same_day = (there.tm_year, there.tm_yday) == (here.tm_year, here.tm_yday)
    return time.strftime("%H:%M" if same_day else "%a %d %b %H:%M", there)
