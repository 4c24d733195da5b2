"""The radar: one axis per category, one shape per model, nothing where there is no area."""

import math
import re
from xml.etree import ElementTree

import pytest

from zephyrctl.reports.radar import Shape, radar

AXES = ("writing", "math", "stem", "coding")


def shape(label: str, *values: float, axes=AXES) -> Shape:
    return Shape(label, {a: (v, v - 1, v + 1) for a, v in zip(axes, values, strict=True)})


def corners(svg: str, css: str) -> list[tuple[float, float]]:
    points = re.search(rf'class="{css}" points="([^"]+)"', svg)
    assert points is not None
    return [tuple(map(float, pair.split(","))) for pair in points[1].split()]  # type: ignore[misc]


def test_a_value_lies_on_its_axis_at_its_share_of_the_radius():
    svg = radar("t", AXES, [shape("dpo", 10, 5, 0, 10)], top=10)
    ElementTree.fromstring(svg)
    up, right, centre, left = corners(svg, "shape a")
    radius = centre[1] - up[1]
    assert up[0] == centre[0]
    assert right[0] - centre[0] == pytest.approx(radius / 2, abs=0.1)
    assert centre[0] - left[0] == pytest.approx(radius, abs=0.1)


def test_four_models_have_four_tones_and_the_fifth_is_left_to_the_tables():
    svg = radar("t", AXES, [shape(str(n), 1, 2, 3, 4) for n in range(5)], top=10)
    assert [f'class="shape {tone}"' in svg for tone in "abcde"] == [True] * 4 + [False]


def test_without_an_area_there_is_no_chart():
    assert radar("t", AXES[:2], [shape("x", 1, 2, axes=AXES[:2])], top=10) == ""
    assert radar("t", AXES, [shape("x", 1, 2, 3, axes=AXES[:3])], top=10) == ""


def test_a_missing_interval_and_hostile_names_leave_sound_svg():
    axes = ('<img src="x">', "b", "c")
    entry = dict.fromkeys(axes, (5.0, math.nan, math.nan))
    svg = radar("<t>", axes, [Shape("</svg><script>", entry)], top=10)
    ElementTree.fromstring(svg)
    assert "<script" not in svg
    assert "<img" not in svg
    assert "nan" not in svg
