"""What log-probs of pairs say."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from zephyrctl.config.schema.training import Dpo
from zephyrctl.errors import JobFailed
from zephyrctl.training.pairs import (
    Pairs,
    check_start,
    completion_sums,
    loss_at_start,
    pair_metrics,
)


def test_metrics_of_pairs_are_exact() -> None:
    rows = [[-1.0, -5.0, -2.0, -4.0, 2, 3], [-3.0, -3.0, -3.0, -3.0, 1, 1]]
    found = pair_metrics(Pairs.of_table(rows), beta=0.5)
    assert found["rewards/chosen"] == pytest.approx(0.25)
    assert found["rewards/rejected"] == pytest.approx(-0.25)
    assert found["rewards/margins"] == pytest.approx(0.5)
    assert found["rewards/accuracies"] == 0.5  # equal rewards are not right
    assert found["logps/chosen"] == -2.0
    assert found["pairs"] == 2


def test_a_table_holds_what_the_pairs_hold() -> None:
    rows = np.arange(12.0).reshape(2, 6)
    assert Pairs.of_table(rows).table().numpy() == pytest.approx(rows)


@pytest.mark.parametrize(("alpha", "chosen", "rejected"), [(None, 7, 6), (0.5, 5, 6), (0.0, 3, 6)])
def test_the_tail_of_the_longer_completion_counts_less(
    alpha: float | None, chosen: float, rejected: float
) -> None:
    log_probs = torch.tensor([[0.0, 0, 1, 2, 4], [0, 0, 0, 1, 5]])
    mask = torch.tensor([[0, 0, 1, 1, 1], [0, 0, 0, 1, 1]])
    assert completion_sums(log_probs, mask, ld_alpha=alpha).tolist() == [chosen, rejected]


@pytest.mark.parametrize(
    ("expected", "loss", "margin", "is_right"),
    [
        (math.log(2), math.log(2), 0.0, True),
        (math.log(2), math.log(2) + 5e-5, 0.0, True),
        (math.log(2), 0.70, 0.0, False),
        (math.log(2), math.log(2), 0.01, False),
        (1.0, math.log(2), 0.0, False),
        (2500.0, 2500.1, 0.0, True),
        (2500.0, 2501.0, 0.0, False),
        (None, 3.0, 0.0, True),
        (None, 3.0, 0.5, False),
        (None, 3.0, math.nan, False),
    ],
)
def test_the_first_loss_shows_that_policy_and_reference_agree(
    expected: float | None, loss: float, margin: float, is_right: bool
) -> None:
    if is_right:
        check_start(expected, loss=loss, margin=margin, tolerance=1e-4)
    else:
        with pytest.raises(JobFailed, match="not the same model"):
            check_start(expected, loss=loss, margin=margin, tolerance=1e-4)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, math.log(2)),
        ({"loss": ["sigmoid", "hinge"], "loss_weights": [0.5, 3.0]}, math.log(2) / 2 + 3),
        ({"loss": "ipo", "beta": 0.1}, 25.0),
        ({"loss": ["sigmoid", "sft"]}, None),
        ({"loss": "rdpo"}, None),
        ({"trainer_args": {"use_weighting": True}}, None),
    ],
)
def test_the_loss_at_the_start_is_known_where_it_follows_from_agreement(
    settings: dict[str, Any], expected: float | None
) -> None:
    found = loss_at_start(Dpo.model_validate(settings))
    assert found == (expected if expected is None else pytest.approx(expected))
