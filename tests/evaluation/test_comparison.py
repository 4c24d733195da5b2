"""Which models are compared, and what a comparison says."""

import json
import random
from collections.abc import Hashable

import pytest

from zephyrctl.evaluation.benchmark import Match, Score, Scores
from zephyrctl.evaluation.comparison import Measured, by_repeat, compare, compare_two, pairs
from zephyrctl.evaluation.rules import RuleQuestion, Rules, parse_question


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


def test_where_every_repeat_is_the_same_only_other_questions_would_tell() -> None:
    rules = Rules([row(n) for n in range(8)], max_new_tokens=4)
    scores = {"sft": scored("sft", [1, 1, 0, 0, 0, 0, 1, 0]),
              "dpo": scored("dpo", [1, 0, 1, 1, 0, 0, 0, 1])}  # fmt: skip
    (found,) = compare(rules, scores, baseline=None, replicates=500, seed=1)
    assert found.low < 0 < found.high
    assert (found.repeats_needed, found.repeats_are_a_bound) == (None, False)
    assert found.questions_needed is not None
    assert found.questions_needed > 8


def test_models_scored_earlier_are_not_compared_with_a_baseline_that_has_no_score() -> None:
    # A run that only compares pairs scores nobody alone, and finds what stands from before.
    rules = Rules([row(n) for n in range(4)], max_new_tokens=4)
    earlier = {"dpo": scored("dpo", [1, 0, 1, 1]), "other": scored("other", [0, 0, 1, 1])}
    assert compare(rules, earlier, baseline="sft", replicates=200, seed=1) == []


def row(number: int, category: str = "") -> RuleQuestion:
    fields = {"question_id": number, "turns": ["x"], "checks": ["stopped"], "category": category}
    return parse_question(json.dumps(fields), where="here")


def measured(name: str, repeated: dict[Hashable, list[float]]) -> Measured:
    means = {question: sum(values) / len(values) for question, values in repeated.items()}
    return Measured(name, "average", means, repeated)


def test_categories_are_compared_each_by_itself() -> None:
    strata: dict[Hashable, Hashable] = {n: "math" if n < 10 else "writing" for n in range(20)}
    a = measured("sft", {n: [5.0 + n % 3] for n in range(20)})
    b = measured("dpo", {n: [5.0 + n % 3 + (n < 10) + n % 2] for n in range(20)})
    found = compare_two(
        a, b, benchmark="mt-bench", judge="j", strata=strata, replicates=500, seed=0
    )  # fmt: skip
    assert found.difference == pytest.approx(1.0)
    assert found.categories["math"]["difference"] == pytest.approx(1.5)
    assert found.categories["writing"]["difference"] == pytest.approx(0.5)
    assert found.categories["writing"]["n"] == 10
    assert found.categories["math"]["low"] > found.categories["writing"]["low"]
    # Resolved: what there is, is enough.
    assert (found.n_repeats, found.repeats_needed, found.questions_needed) == (1, 1, 20)
    assert not found.repeats_are_a_bound


def test_a_difference_that_is_not_resolved_says_what_would_resolve_it() -> None:
    noise = random.Random(3)
    level = {n: noise.gauss(6, 2) for n in range(80)}
    a = measured("sft", {n: [noise.gauss(level[n], 1.2) for _ in range(3)] for n in range(80)})
    b = measured("dpo", {n: [noise.gauss(level[n], 1.2) for _ in range(3)] for n in range(80)})
    found = compare_two(a, b, benchmark="own", judge="j", strata={}, replicates=500, seed=0)
    assert found.low < 0 < found.high
    assert found.n_repeats == 3
    assert found.repeats_needed is None or found.repeats_needed > 3
    assert found.questions_needed is not None
    assert found.questions_needed > 80
    once = compare_two(
        Measured("sft", "average", a.by_question, {}),
        Measured("dpo", "average", b.by_question, {}),
        benchmark="own", judge="j", strata={}, replicates=500, seed=0,
    )  # fmt: skip
    assert (once.difference, once.low, once.high) == (found.difference, found.low, found.high)
    assert (once.n_repeats, once.repeats_are_a_bound) == (1, True)


def test_values_of_each_repeat_come_from_the_judgments_of_that_repeat() -> None:
    class Twice(Rules):
        repeats = 2

    benchmark = Twice([row(1), row(2)], max_new_tokens=4)
    judgments = [
        {"question_id": q, "turn": 1, "category": "", "passed": q == sample, "checks": [],
         "sample": sample - 1}
        for q in (1, 2) for sample in (1, 2)
    ]  # fmt: skip
    found = by_repeat(benchmark, judgments, Match("m"))
    assert found == {1: [1.0, 0.0], 2: [0.0, 1.0]}
    assert by_repeat(Rules([row(1)], max_new_tokens=4), judgments, Match("m")) == {}
