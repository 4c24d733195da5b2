"""How sure is a share that was counted, such as 8 of 11 votes?"""

from __future__ import annotations

import math

Z95 = 1.959963984540054
"""The normal distribution's 97.5 % point, the half-width of a 95 % interval."""


def wilson(rate: float, n: int) -> tuple[float, float]:
    """Wilson's score interval of a rate (J. Am. Stat. Assoc. 22, 1927, p. 209)."""
    square = Z95 * Z95
    centre = (rate + square / (2 * n)) / (1 + square / n)
    half = Z95 * math.sqrt(rate * (1 - rate) / n + square / (4 * n * n)) / (1 + square / n)
    return max(0.0, centre - half), min(1.0, centre + half)
