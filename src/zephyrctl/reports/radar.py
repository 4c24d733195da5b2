"""How do models differ by category, on one round chart? As SVG that takes its colours from CSS."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from zephyrctl.reports.numbers import number

FEWEST_AXES, MOST_SHAPES = 3, 4
"""Two axes make no area; more shapes than this cannot be told apart."""
TONES = ("a", "b", "c", "d")
"""CSS classes of the models, in their order."""
_WIDTH, _HEIGHT, _RADIUS = 420, 330, 126
_RINGS = 4

Spans = Mapping[str, tuple[float, float, float]]
"""Value, low and high by category; NaN where there is no interval."""


@dataclass(frozen=True)
class Shape:
    """One model on the chart."""

    label: str
    values: Spans


def radar(title: str, axes: Sequence[str], shapes: Sequence[Shape], *, top: float) -> str:
    """A chart with one axis per category from 0 to `top`, each model a line in a faint band.

    The band is the 95 % interval. Empty where there are too few axes, or no model has them all.
    """
    whole = [shape for shape in shapes if all(axis in shape.values for axis in axes)]
    if len(axes) < FEWEST_AXES or not whole or top <= 0:
        return ""
    parts = [
        f'<svg class="radar" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"'
        f' aria-label="{escape(title)}">',
        *_web(axes, top),
    ]
    for tone, shape in zip(TONES, whole, strict=False):
        parts += _shape(shape, axes, tone=tone, top=top)
    return "".join([*parts, "</svg>"])


def _web(axes: Sequence[str], top: float) -> list[str]:
    parts = []
    for ring in range(1, _RINGS + 1):
        corners = [_at(place, len(axes), ring / _RINGS) for place in range(len(axes))]
        parts.append(f'<polygon class="ring" points="{_joined(corners)}"/>')
        x, y = _at(0, len(axes), ring / _RINGS)
        label = escape(number(top * ring / _RINGS))
        parts.append(f'<text class="tick" x="{x + 4:.1f}" y="{y + 10:.1f}">{label}</text>')
    for place, axis in enumerate(axes):
        x, y = _at(place, len(axes), 1.0)
        parts.append(
            f'<line class="grid" x1="{_WIDTH / 2}" y1="{_HEIGHT / 2}" x2="{x:.1f}" y2="{y:.1f}"/>'
        )
        x, y = _at(place, len(axes), 1.13)
        lean = (x - _WIDTH / 2) / _RADIUS
        anchor = "middle" if abs(lean) < 0.2 else "start" if lean > 0 else "end"
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{y + 4:.1f}" text-anchor="{anchor}">'
            f"{escape(axis)}</text>"
        )
    return parts


def _shape(shape: Shape, axes: Sequence[str], *, tone: str, top: float) -> list[str]:
    def ring(pick: int) -> list[tuple[float, float]]:
        found = []
        for place, axis in enumerate(axes):
            entry = shape.values[axis]
            value = entry[pick] if math.isfinite(entry[pick]) else entry[0]
            found.append(_at(place, len(axes), min(1.0, max(0.0, value / top))))
        return found

    middle, low, high = ring(0), ring(1), ring(2)
    values = ", ".join(f"{axis} {number(shape.values[axis][0], digits=3)}" for axis in axes)
    return [
        f'<path class="band {tone}" d="{_path(high)} {_path(low)}"/>',
        f'<polygon class="shape {tone}" points="{_joined(middle)}">'
        f"<title>{escape(shape.label)}: {escape(values)}</title></polygon>",
    ]


def _at(place: int, axes: int, share: float) -> tuple[float, float]:
    """The point on an axis at `share` of the radius; the first axis points up."""
    angle = 2 * math.pi * place / axes - math.pi / 2
    reach = _RADIUS * share
    return _WIDTH / 2 + reach * math.cos(angle), _HEIGHT / 2 + reach * math.sin(angle)


def _joined(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + "Z"
