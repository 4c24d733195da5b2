"""Which models are compared, and what a comparison says."""

import json

import pytest

from zephyrctl.evaluation.benchmark import Score, Scores
from zephyrctl.evaluation.comparison import compare, pairs
from zephyrctl.evaluation.rules import Rules, parse_question


def test_each_model_is_compared_with_the_one_before_and_the_last_with_the_first() -> None:
    assert pairs(["base", "sft", "dpo"], baseline=None) == [
        ("base", "sft"), ("sft", "dpo"), ("base", "dpo"),
    ]  # fmt: skip
    assert pairs(["sft", "dpo"], baseline=None) == [("sft", "dpo")]
    assert pairs(["dpo"], baseline=None) == []


def test_with_a_baseline_all_are_compared_with_it() -> None:
    assert pairs(["base", "sft", "dpo"], baseline="sft") == [("sft", "base"), ("sft", "dpo")]


def scored(model: str, passed: list[int]) -> Scores:
    rate = sum(passed) / len(passed)
    score = Score("rules", model, None, "pass_rate", rate, 0.0, 1.0, len(passed))
    return Scores((score,), {n: float(value) for n, value in enumerate(passed)}, rate)


def test_a_comparison_is_b_minus_a_with_wins_ties_and_losses() -> None:
    row = {"turns": ["x"], "checks": ["stopped"]}
    questions = [
        parse_question(json.dumps({**row, "question_id": n}), where="here") for n in range(8)
    ]
    rules = Rules(questions, max_new_tokens=4)
    scores = {"sft": scored("sft", [1, 1, 0, 0, 0, 0, 0, 0]),
              "dpo": scored("dpo", [1, 0, 1, 1, 1, 1, 0, 0])}  # fmt: skip
    (found,) = compare(rules, scores, baseline=None, replicates=2000, seed=1)
    assert (found.a, found.b, found.metric, found.judge) == ("sft", "dpo", "pass_rate", None)
    assert found.difference == pytest.approx(3 / 8)
    assert (found.wins, found.ties, found.losses, found.n) == (4, 3, 1, 8)
    assert found.low < 3 / 8 < found.high
    assert 0.85 < found.p_better < 1
    assert {"benchmark", "a", "b", "difference", "low", "high"} <= set(found.to_json())
