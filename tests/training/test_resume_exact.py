"""A killed run ends with the same weights, bit by bit.

Every kind of training is in tests/drills.
"""

from typing import Any

import pytest
from tests.training.resume_cases import CASES, ends_alike

pytestmark = pytest.mark.train


def test_a_killed_run_ends_alike(make_run: Any, drill: Any) -> None:
    ends_alike(CASES["dpo lora adapter"], 1, make_run, drill, ("step=4:kill",))
