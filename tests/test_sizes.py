"""Sizes in bytes, as people read them."""

from __future__ import annotations

import pytest

from zephyrctl.sizes import GIB, KIB, MIB, size_words


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (KIB, "1 KiB"),
        (1.5 * KIB, "1.5 KiB"),
        (MIB - KIB, "1023 KiB"),
        (3.14 * MIB, "3.1 MiB"),
        (9.9 * MIB, "9.9 MiB"),
        (355.4 * MIB, "355 MiB"),
        (16 * MIB, "16 MiB"),
        (GIB, "1 GiB"),
        (GIB + MIB, "1.0 GiB"),
        (14.53 * GIB, "14.5 GiB"),
        (2048.2 * GIB, "2048.2 GiB"),
    ],
)
def test_a_size_is_told_in_the_largest_unit_that_it_fills(size: float, words: str) -> None:
    assert size_words(size) == words
