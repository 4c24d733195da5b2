"""Killed in the middle of a pass, at its edge and in the second: the same weights, bit by bit.

These cover every part that could lose its place; the full matrix is in tests/drills.
"""

from typing import Any

import pytest
from tests.training.resume_cases import CASES, ends_alike

pytestmark = pytest.mark.train


@pytest.mark.parametrize(
    ("name", "ranks", "kills"),
    [
        ("sft packed lora", 2, ("step=2:kill", "step=4:kill")),
        ("dpo shared", 2, ("step=3:kill",)),
        ("dpo lora adapter", 1, ("step=4:kill",)),
    ],
)
def test_a_killed_run_ends_alike(
    name: str, ranks: int, kills: tuple[str, ...], make_run: Any, drill: Any
) -> None:
    ends_alike(CASES[name], ranks, make_run, drill, kills)
