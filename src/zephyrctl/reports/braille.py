"""How is a curve drawn in a terminal? Braille dots, block sparklines, and ASCII for both."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from zephyrctl.reports.numbers import number

Point = tuple[float, float]

# Unicode braille: bit of the dot at (column 0-1, row 0-3) of a cell, counted from U+2800.
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_BLOCKS = "▁▂▃▄▅▆▇█"
_ASCII_BLOCKS = "_.-~=+*#"


def sparkline(values: Sequence[float], *, width: int, ascii_only: bool = False) -> str:
    """The course of `values` in at most `width` cells, each the mean of its share."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite or width < 1:
        return ""
    cells = min(width, len(finite))
    means = [_mean(finite[len(finite) * i // cells : len(finite) * (i + 1) // cells])
             for i in range(cells)]  # fmt: skip
    low, high = min(means), max(means)
    blocks = _ASCII_BLOCKS if ascii_only else _BLOCKS
    scale = (len(blocks) - 1) / (high - low) if high > low else 0.0
    return "".join(blocks[round((mean - low) * scale)] for mean in means)


def chart(
    points: Sequence[Point],
    *,
    width: int,
    height: int,
    marks: Sequence[Point] = (),
    ascii_only: bool = False,
) -> list[str]:
    """`height` lines of at most `width` cells: a curve over its axis, with `marks` set on top.

    Values that are not finite leave a gap. An empty curve gives no lines.
    """
    points = [point for point in points if math.isfinite(point[1])]
    marks = [mark for mark in marks if math.isfinite(mark[1])]
    if not points:
        return []
    values = [y for _, y in (*points, *marks)]
    low, high = min(values), max(values)
    labels = _axis_labels(low, high, height)
    gutter = max(len(label) for label in labels)
    columns = max(2, width - gutter - 2)
    frame = _Frame(
        columns=columns,
        rows=height,
        left=min(x for x, _ in (*points, *marks)),
        right=max(x for x, _ in (*points, *marks)),
        low=low,
        high=high,
    )
    dots = _trace([frame.dot(x, y) for x, y in points])
    cells = _ascii_cells(dots, frame) if ascii_only else _braille_cells(dots, frame)
    for x, y in marks:
        column, row = frame.dot(x, y)
        cells[row // 4][column // 2] = "o" if ascii_only else "◆"
    tick = "|" if ascii_only else "┤"
    return [f"{label:>{gutter}} {tick}{''.join(line)}" for label, line in
            zip(labels, cells, strict=True)]  # fmt: skip


class _Frame:
    """Maps a point to a dot of a grid with 2 × 4 dots in each cell; row 0 is the top."""

    def __init__(
        self, *, columns: int, rows: int, left: float, right: float, low: float, high: float
    ) -> None:
        self.columns, self.rows = columns, rows
        self._left, self._low = left, low
        self._per_x = (2 * columns - 1) / (right - left) if right > left else 0.0
        self._per_y = (4 * rows - 1) / (high - low) if high > low else 0.0

    def dot(self, x: float, y: float) -> tuple[int, int]:
        row = (y - self._low) * self._per_y if self._per_y else 2 * self.rows
        return round((x - self._left) * self._per_x), 4 * self.rows - 1 - min(
            4 * self.rows - 1, round(row)
        )


def _trace(dots: Sequence[tuple[int, int]]) -> set[tuple[int, int]]:
    """All dots on the lines between consecutive dots; one mean dot per column comes first."""
    by_column: dict[int, list[int]] = {}
    for column, row in dots:
        by_column.setdefault(column, []).append(row)
    path = [(column, round(_mean(rows))) for column, rows in sorted(by_column.items())]
    filled = set(path)
    for (x0, y0), (x1, y1) in itertools.pairwise(path):
        length = max(x1 - x0, abs(y1 - y0))
        filled |= {
            (round(x0 + (x1 - x0) * i / length), round(y0 + (y1 - y0) * i / length))
            for i in range(1, length)
        }
    return filled


def _braille_cells(dots: set[tuple[int, int]], frame: _Frame) -> list[list[str]]:
    bits = [[0] * frame.columns for _ in range(frame.rows)]
    for column, row in dots:
        bits[row // 4][column // 2] |= _DOTS[column % 2][row % 4]
    return [[chr(0x2800 + cell) if cell else " " for cell in line] for line in bits]


def _ascii_cells(dots: set[tuple[int, int]], frame: _Frame) -> list[list[str]]:
    cells = [[" "] * frame.columns for _ in range(frame.rows)]
    for column, row in dots:
        cells[row // 4][column // 2] = "*"
    return cells


def _axis_labels(low: float, high: float, height: int) -> list[str]:
    """Labels from top to bottom, on every second line where there is room."""
    if height == 1 or high == low:
        return [number(high, digits=3) if row == height // 2 else "" for row in range(height)]
    step = 2 if height % 2 else max(1, height - 1)
    return [
        number(high - (high - low) * row / (height - 1), digits=3)
        if row % step == 0 or row == height - 1
        else ""
        for row in range(height)
    ]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
