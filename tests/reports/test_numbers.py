"""Numbers keep their size; times read as people say them."""

import time

import pytest

from zephyrctl.reports import numbers


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (5e-7, "5e-07"),
        (1.84e-05, "1.84e-05"),
        (0.0, "0"),
        (0.693147, "0.6931"),
        (-262.1, "-262.1"),
        (148_000.0, "148000"),
        (None, "–"),
        (float("nan"), "nan"),
        (True, "True"),
        (12, "12"),
    ],
)
def test_a_metric_is_written_with_its_size(value: object, written: str) -> None:
    assert numbers.number(value) == written


def test_few_digits_never_turn_a_large_number_into_an_exponent() -> None:
    assert numbers.number(-262.1, digits=2) == "-262"


def test_a_fixed_column_never_rounds_a_small_value_to_zero() -> None:
    assert numbers.fixed(5e-7, 3) == "5.0e-07"
    assert numbers.fixed(0.0, 3) == "0.000"


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0.26, "0.26 s"), (3.04, "3.0 s"), (59, "59 s"), (3492, "58:12"), (4360, "1:12:40")],
)
def test_durations(seconds: float, written: str) -> None:
    assert numbers.duration(seconds) == written


def test_the_finish_shows_its_date_only_on_another_day() -> None:
    noon = time.mktime((2026, 11, 22, 12, 0, 0, 0, 0, -1))
    assert numbers.clock_time(noon + 60, now=noon) == "12:01"
    assert numbers.clock_time(noon + 86400, now=noon) == "Mon 23 Nov 12:00"


@pytest.mark.parametrize(
    ("value", "written"), [(999, "999"), (148_000, "148k"), (1_250_000, "1.25M"), (0.5, "0.5")]
)
def test_compact_counts(value: float, written: str) -> None:
    assert numbers.compact(value) == written
