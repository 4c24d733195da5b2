"""Every kind of training, killed after steps of the first pass, at its edge and in the second.

Weights, losses, metrics and samples are those of an uninterrupted run, bit by bit.
"""

from typing import Any

import pytest
from tests.training.conftest import _no_cache_of_mine, drill, make_run
from tests.training.resume_cases import CASES, ends_alike

__all__ = ["_no_cache_of_mine", "drill", "make_run"]
ALONE = {"sft neftune", "sft evaluated", "sft padded", "sft adamw_bf16", "dpo padded"}
"""What has nothing of its own with several processes."""


@pytest.mark.parametrize(
    ("name", "ranks"), [(name, n) for name in CASES for n in (1, 2) if n == 1 or name not in ALONE]
)
def test_a_run_killed_three_times_ends_alike(
    name: str, ranks: int, make_run: Any, drill: Any
) -> None:
    ends_alike(CASES[name], ranks, make_run, drill)
