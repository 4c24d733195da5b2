"""How are curves and intervals drawn in the HTML report? As SVG that takes its colours from CSS.

Nothing here escapes itself: every label passes `html.escape`, every number a fixed format.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from zephyrctl.reports.numbers import number
from zephyrctl.reports.stream import moving_average

MOST_POINTS = 200
"""Points of a curve after thinning: two per pixel column would not be seen."""

_WIDTH, _HEIGHT = 420, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 10, 26
_SMOOTH_FROM = 40


@dataclass(frozen=True)
class Curve:
    """One line of a chart. `tone` is a CSS class: `a`, `b` or `c`; held-out curves get dots."""

    label: str
    points: Sequence[tuple[float, float]]
    tone: str = "a"
    dots: bool = False


def line_chart(title: str, curves: Sequence[Curve], *, guide: float | None = None) -> str:
    """A chart of one or more curves over the steps; empty where no curve has a finite value.

    Long noisy curves are drawn faint, with their moving average on top. `guide` is a dashed
    horizontal line, such as ln 2 for DPO's loss.
    """
    kept = [(curve, _finite(curve.points)) for curve in curves]
    kept = [(curve, points) for curve, points in kept if points]
    if not kept:
        return ""
    values = [y for _, points in kept for _, y in points] + ([] if guide is None else [guide])
    steps = [x for _, points in kept for x, _ in points]
    axis = _Axes(left=min(steps), right=max(steps), ticks=nice_ticks(min(values), max(values)))
    parts = [
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"'
        f' aria-label="{escape(title)}">',
        *_grid(axis),
    ]
    if guide is not None:
        y = axis.y(guide)
        parts.append(
            f'<line class="guide" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
    for curve, points in kept:
        parts += _curve(curve, points, axis)
    return "".join([*parts, "</svg>"])


def interval_bar(
    value: float, *, low: float | None, high: float | None, span: tuple[float, float], zero: bool
) -> str:
    """A value with its interval on the scale `span`; `zero` marks 0, for differences."""
    width, height = 240, 22

    def at(number_: float) -> float:
        share = (number_ - span[0]) / (span[1] - span[0]) if span[1] > span[0] else 0.5
        return 4 + (width - 8) * min(1.0, max(0.0, share))

    parts = [
        f'<svg class="interval" viewBox="0 0 {width} {height}" aria-hidden="true">',
        f'<line class="track" x1="4" x2="{width - 4}" y1="11" y2="11"/>',
    ]
    if zero and span[0] <= 0 <= span[1]:
        parts.append(f'<line class="zero" x1="{at(0):.1f}" x2="{at(0):.1f}" y1="2" y2="20"/>')
    if low is not None and high is not None:
        left, right = at(low), at(high)
        parts.append(
            f'<rect class="range" x="{left:.1f}" y="7" width="{max(1.0, right - left):.1f}"'
            ' height="8" rx="2"/>'
        )
    parts.append(f'<circle class="value" cx="{at(value):.1f}" cy="11" r="4.5"/></svg>')
    return "".join(parts)


def nice_ticks(low: float, high: float, *, most: int = 5) -> list[float]:
    """Round numbers that enclose `low` and `high`, at most about `most` of them."""
    if high <= low:
        pad = abs(low) * 0.1 or 1.0
        low, high = low - pad, high + pad
    rough = (high - low) / max(1, most - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [index * step for index in range(first, last + 1)]


def thin(points: Sequence[tuple[float, float]], *, most: int = MOST_POINTS) -> list[
    tuple[float, float]
]:  # fmt: skip
    """At most `most` points, each the mean of its share; the first and last are kept exactly."""
    if len(points) <= most:
        return list(points)
    inner, cells = points[1:-1], most - 2
    thinned = [points[0]]
    for index in range(cells):
        share = inner[len(inner) * index // cells : len(inner) * (index + 1) // cells]
        thinned.append(
            (sum(x for x, _ in share) / len(share), sum(y for _, y in share) / len(share))
        )
    return [*thinned, points[-1]]


class _Axes:
    def __init__(self, *, left: float, right: float, ticks: list[float]) -> None:
        self.left, self.right, self.ticks = left, right, ticks

    def x(self, step: float) -> float:
        share = (step - self.left) / (self.right - self.left) if self.right > self.left else 0.5
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * share

    def y(self, value: float) -> float:
        share = (value - self.ticks[0]) / (self.ticks[-1] - self.ticks[0])
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * share


def _grid(axis: _Axes) -> list[str]:
    parts = []
    places = _label_digits(axis.ticks)
    for tick in axis.ticks:
        y = axis.y(tick)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick" x="{_LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">'
            f"{escape(number(0.0 if tick == 0 else tick, digits=places))}</text>"
        )
    for step in _step_ticks(axis.left, axis.right):
        anchor = "middle" if axis.left < step < axis.right else (
            "start" if step == axis.left and axis.right > axis.left else "end"
            if axis.right > axis.left else "middle"
        )  # fmt: skip
        parts.append(
            f'<text class="tick" x="{axis.x(step):.1f}" y="{_HEIGHT - 8}"'
            f' text-anchor="{anchor}">{step:.0f}</text>'
        )
    return parts


def _step_ticks(left: float, right: float) -> list[float]:
    if right <= left:
        return [left]
    inside = [t for t in nice_ticks(left, right) if left < t < right and t == round(t)]
    room = 0.12 * (right - left)
    return [left, *(t for t in inside if t - left > room and right - t > room), right]


def _label_digits(ticks: list[float]) -> int:
    """Digits with which neighbouring ticks can be told apart."""
    for digits in (2, 3, 4, 5, 6):
        if len({number(tick, digits=digits) for tick in ticks}) == len(ticks):
            return digits
    return 7


def _curve(curve: Curve, points: list[tuple[float, float]], axis: _Axes) -> list[str]:
    parts = []
    tone = escape(curve.tone)
    if len(points) >= _SMOOTH_FROM and not curve.dots:
        smooth = moving_average([y for _, y in points])
        parts.append(_path(thin(points), axis, css=f"line raw {tone}"))
        points = [(x, y) for (x, _), y in zip(points, smooth, strict=True)]
    if len(points) > 1:
        # Between two evaluations nothing was measured: their line is only a guide for the eye.
        css = f"line between {tone}" if curve.dots else f"line {tone}"
        parts.append(_path(thin(points), axis, css=css))
    if curve.dots or len(points) == 1:
        parts += [
            f'<circle class="dot {tone}" cx="{axis.x(x):.1f}" cy="{axis.y(y):.1f}" r="3">'
            f"<title>{escape(curve.label)} {number(y)} at step {x:.0f}</title></circle>"
            for x, y in thin(points, most=60)
        ]
    return parts


def _path(points: Sequence[tuple[float, float]], axis: _Axes, *, css: str) -> str:
    joined = " ".join(f"{axis.x(x):.1f},{axis.y(y):.1f}" for x, y in points)
    return f'<polyline class="{css}" points="{joined}"/>'


def _finite(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(x, y) for x, y in points if math.isfinite(y)]
