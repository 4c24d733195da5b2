"""Curves in a terminal keep their shape, their frame, and their fallback."""

import math

import pytest

from zephyrctl.reports.braille import chart, sparkline


def test_a_sparkline_follows_its_values() -> None:
    assert sparkline([3, 2, 1, 0], width=4) == "█▆▃▁"
    assert sparkline([0.0, 1.0], width=8, ascii_only=True) == "_#"


def test_a_sparkline_averages_what_does_not_fit() -> None:
    assert len(sparkline(list(range(1000)), width=8)) == 8


def test_nothing_to_draw_gives_nothing() -> None:
    assert sparkline([], width=8) == ""
    assert sparkline([float("nan")], width=8) == ""
    assert chart([], width=40, height=5) == []


def test_a_falling_line_runs_from_the_upper_left_to_the_lower_right() -> None:
    lines = chart([(0, 10.0), (100, 0.0)], width=40, height=5)
    bodies = [line.split("┤")[1] for line in lines]
    assert bodies[0][0] != " "
    assert bodies[-1].rstrip()[-1] != " "
    starts = [len(body) - len(body.lstrip()) for body in bodies]
    assert starts == sorted(starts)


@pytest.mark.parametrize("width", [20, 76, 120])
def test_the_chart_keeps_its_width_and_labels(width: int) -> None:
    points = [(float(step), math.exp(-step / 50)) for step in range(300)]
    lines = chart(points, width=width, height=6, marks=[(150, 0.2)])
    assert {len(line) for line in lines} == {width}
    assert lines[0].split()[0] == "1"
    assert any("◆" in line for line in lines)


def test_ascii_needs_no_other_signs() -> None:
    points = [(float(step), float(step % 7)) for step in range(50)]
    assert all(line.isascii() for line in chart(points, width=60, height=5, ascii_only=True))


def test_values_that_are_not_finite_leave_the_frame_alone() -> None:
    points = [(0.0, 1.0), (1.0, float("nan")), (2.0, float("inf")), (3.0, 0.5)]
    lines = chart(points, width=30, height=4)
    assert "nan" not in "".join(lines)
    assert lines[0].split()[0] == "1"


def test_one_value_is_a_dot() -> None:
    lines = chart([(1, 2.0)], width=30, height=5)
    assert len(lines) == 5
    assert sum(char not in " ┤2" for line in lines for char in line) == 1
