"""Intervals against brute force, closed forms and published examples."""

import json
import math
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zephyrctl.evaluation.statistics import (
    Difference,
    Interval,
    bootstrap_mean,
    bootstrap_of,
    newcombe,
    paired_difference,
    strata_of,
    wilson,
)


def brute_force(
    values: list[float],
    groups: list[str],
    *,
    replicates: int,
    seed: int,
    strata: dict[str, int] | None = None,
) -> tuple[float, float]:
    """Draw questions one by one, of each category all but one, and weigh each category's draws
    by its number of questions."""
    rng = np.random.default_rng(seed)
    of: dict[str, list[float]] = {}
    for value, group in zip(values, groups, strict=True):
        of.setdefault(group, []).append(value)
    categories: dict[int, list[str]] = {}
    for name in of:
        categories.setdefault(strata[name] if strata else 0, []).append(name)
    means = []
    for _ in range(replicates):
        total = count = 0.0
        for names in categories.values():
            weight = len(names) / (len(names) - 1)
            for _ in range(len(names) - 1):
                drawn = of[names[rng.integers(len(names))]]
                total += weight * sum(drawn)
                count += weight * len(drawn)
        means.append(total / count)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def two_turns(questions: int, *, seed: int) -> tuple[list[float], list[str]]:
    rng = np.random.default_rng(seed)
    level = rng.normal(6, 2, questions)
    values = [float(level[q] + rng.normal(0, 1)) for q in range(questions) for _ in range(2)]
    return values, [f"q{q}" for q in range(questions) for _ in range(2)]


def test_clustered_interval_equals_drawing_questions_one_by_one() -> None:
    values, groups = two_turns(40, seed=1)
    found = bootstrap_mean(values, groups, replicates=20000, seed=5)
    low, high = brute_force(values, groups, replicates=6000, seed=9)
    # Two independent Monte Carlo runs: the quantiles' standard errors are 0.007 and 0.012.
    assert found.low == pytest.approx(low, abs=0.05)
    assert found.high == pytest.approx(high, abs=0.05)
    assert found.value == pytest.approx(np.mean(values))
    assert (found.n, found.questions, found.method) == (80, 40, "bootstrap")


def test_drawing_within_categories_equals_the_same_by_hand() -> None:
    values, groups = two_turns(24, seed=6)
    del values[5], groups[5]  # one turn unparsed: its question counts for one value
    strata = {f"q{q}": q % 3 for q in range(24)}
    found = bootstrap_mean(values, groups, replicates=20000, seed=5, strata=strata)
    low, high = brute_force(values, groups, replicates=6000, seed=9, strata=strata)
    assert found.low == pytest.approx(low, abs=0.06)
    assert found.high == pytest.approx(high, abs=0.06)


def standard_error(sums: np.ndarray, *, of: int) -> float:
    """In closed form, of the mean over `of` questions of a category: s / √n, with s over n − 1."""
    return float(np.sqrt(sums.reshape(-1, of).var(axis=1, ddof=1).sum() * of) / sums.size)


@pytest.mark.parametrize("of", [2, 5, 10, 80])
def test_the_width_agrees_with_the_closed_form_also_in_small_categories(of: int) -> None:
    rng = np.random.default_rng(of)
    values = rng.normal(6, 2, 80)
    strata = {question: question // of for question in range(80)}
    found = bootstrap_mean(values.tolist(), replicates=8000, seed=1, strata=strata)
    width = 2 * 1.96 * standard_error(values, of=of)
    # A quantile's Monte Carlo error is 1.4 % of a standard error here; the rest is no normal law.
    assert found.high - found.low == pytest.approx(width, rel=0.05)


@pytest.mark.parametrize(("categories", "of"), [(8, 10), (8, 5), (1, 40)])
def test_intervals_cover_the_truth_about_as_often_as_they_say(categories: int, of: int) -> None:
    rng = np.random.default_rng(categories * of)
    questions = categories * of
    level = np.repeat(np.linspace(4, 9, categories), of)
    groups = [question for question in range(questions) for _ in range(2)]
    strata = {question: question // of for question in range(questions)}
    hits = 0
    for trial in range(600):
        per_question = level + rng.normal(0, 2, questions)
        turns = (per_question[:, None] + rng.normal(0, 1, (questions, 2))).ravel()
        found = bootstrap_mean(
            turns.tolist(), groups, replicates=400, seed=trial, strata=strata
        )  # fmt: skip
        hits += found.low <= level.mean() <= found.high
    # Binomial error of 600 trials at 0.95: 0.009. Five questions a category leave s itself unsure.
    assert 0.905 <= hits / 600 <= 0.975


def test_categories_of_one_question_do_not_make_an_interval_certain() -> None:
    values = [1.0, 5.0, 9.0, 3.0, 7.0]
    apart = {question: f"category {question}" for question in range(5)}
    alone = bootstrap_mean(values, replicates=2000, seed=1, strata=apart)
    assert alone == bootstrap_mean(values, replicates=2000, seed=1)
    mixed = bootstrap_mean(values, replicates=2000, seed=1, strata={**apart, 0: "x", 1: "x"})
    assert mixed.high - mixed.low > 1
    assert strata_of(list(range(5)), {0: "a", 1: "a", 2: "b", 3: "b", 4: "c"}) == [
        [0, 1, 4], [2, 3],
    ]  # fmt: skip
    assert strata_of([1], {1: "a"}) == [[1]]


def test_categories_without_any_spread_do_not_make_an_interval_certain() -> None:
    strata = {question: question // 4 for question in range(8)}
    found = bootstrap_mean([1.0] * 4 + [0.0] * 4, replicates=2000, seed=1, strata=strata)
    assert found == bootstrap_mean([1.0] * 4 + [0.0] * 4, replicates=2000, seed=1)
    a = dict.fromkeys(range(8), 0.0)
    b = {question: float(question < 4) for question in range(8)}
    apart = paired_difference(a, b, replicates=2000, seed=1, strata=strata)
    assert apart.high - apart.low > 0.3


def test_clustering_widens_and_stratifying_narrows() -> None:
    values, groups = two_turns(60, seed=2)
    level = {f"q{q}": values[2 * q] for q in range(60)}
    strata = {name: int(value > 6) for name, value in level.items()}
    naive = bootstrap_mean(values, replicates=4000, seed=0)
    clustered = bootstrap_mean(values, groups, replicates=4000, seed=0)
    stratified = bootstrap_mean(values, groups, replicates=4000, seed=0, strata=strata)
    widths = [interval.high - interval.low for interval in (stratified, naive, clustered)]
    assert widths[0] < widths[2]
    assert widths[1] < widths[2]


def test_interval_covers_the_true_rate_about_95_times_in_100() -> None:
    rng = np.random.default_rng(11)
    hits = 0
    for trial in range(300):
        sample = (rng.random(200) < 0.7).astype(float).tolist()
        found = bootstrap_mean(sample, replicates=500, seed=trial)
        hits += found.low <= 0.7 <= found.high
    assert 0.90 <= hits / 300 <= 0.98


def test_one_seed_gives_one_interval() -> None:
    values, groups = two_turns(30, seed=3)
    first = bootstrap_mean(values, groups, replicates=1000, seed=4)
    assert first == bootstrap_mean(values, groups, replicates=1000, seed=4)
    assert first.low != bootstrap_mean(values, groups, replicates=1000, seed=5).low


@pytest.mark.parametrize(("value", "low", "high"), [(0.0, 0.0, 0.1612), (1.0, 0.8388, 1.0)])
def test_a_rate_of_all_or_none_gets_wilsons_interval(value: float, low: float, high: float) -> None:
    found = bootstrap_mean([value] * 20, replicates=1000, seed=0)
    assert found.method == "wilson"
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-4)


UNSEEN = 1.959964**2 / (20 + 1.959964**2)
"""The share of values of another kind that 20 questions may have missed."""


@pytest.mark.parametrize(
    ("value", "scale", "low", "high"),
    [
        (0.5, (0.0, 1.0), 0.5 - UNSEEN / 2, 0.5 + UNSEEN / 2),
        (1.0, (1.0, 10.0), 1.0, 1.0 + 9 * UNSEEN),
        (10.0, (1.0, 10.0), 10.0 - 9 * UNSEEN, 10.0),
        (7.0, (1.0, 10.0), 7.0 - 6 * UNSEEN, 7.0 + 3 * UNSEEN),
    ],
)
def test_values_without_any_spread_are_not_certain_and_stay_on_their_scale(
    value: float, scale: tuple[float, float], low: float, high: float
) -> None:
    found = bootstrap_mean([value] * 20, replicates=1000, seed=0, scale=scale)
    assert (found.value, found.method) == (value, "wilson")
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-5)


def test_questions_that_are_all_alike_are_not_certain_where_their_turns_differ() -> None:
    values, groups = [1.0, 0.0] * 20, [number // 2 for number in range(40)]
    found = bootstrap_mean(values, groups, replicates=1000, seed=0)
    assert (found.value, found.method) == (0.5, "wilson")
    assert found.high - found.low == pytest.approx(UNSEEN, abs=1e-5)


def test_values_without_spread_and_without_bounds_have_no_interval() -> None:
    found = bootstrap_mean([1.0] * 20, replicates=1000, seed=0, scale=None)
    assert (found.value, found.method) == (1.0, "none")
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_wilson_reproduces_newcombes_published_table() -> None:
    # Newcombe, Stat. Med. 17 (1998) 857, table I: 81/263, 15/148, 0/20, 1/29.
    for successes, n, low, high in [
        (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718),
    ]:  # fmt: skip
        assert wilson(successes / n, n) == pytest.approx((low, high), abs=1e-4)


def test_nothing_measured_has_no_interval() -> None:
    empty = bootstrap_mean([], replicates=1000, seed=0)
    assert math.isnan(empty.value)
    assert empty.n == 0
    alone = bootstrap_mean([6.5], replicates=1000, seed=0)
    assert (alone.value, alone.method) == (6.5, "none")
    assert math.isnan(alone.low)


def test_paired_difference_is_b_minus_a_over_shared_questions() -> None:
    a = {"q1": 0.0, "q2": 1.0, "q3": 0.0, "only a": 1.0}
    b = {"q3": 1.0, "q2": 1.0, "q1": 0.0, "only b": 0.0}
    found = paired_difference(a, b, replicates=2000, seed=0)
    assert found.value == pytest.approx(1 / 3)
    assert found.n == 3
    # b is better unless q3 is in neither of two draws, where it ties: 1 − (2/3)² + (2/3)² / 2.
    assert found.p_better == pytest.approx(1 - (2 / 3) ** 2 / 2, abs=0.03)


def test_pairing_is_tighter_than_two_separate_intervals() -> None:
    rng = np.random.default_rng(8)
    level = rng.normal(6, 2, 80)
    a = {q: float(level[q] + rng.normal(0, 0.3)) for q in range(80)}
    b = {q: float(level[q] + 0.2 + rng.normal(0, 0.3)) for q in range(80)}
    paired = paired_difference(a, b, replicates=2000, seed=1)
    alone = bootstrap_mean(list(b.values()), replicates=2000, seed=1)
    assert paired.high - paired.low < (alone.high - alone.low) / 3
    assert paired.p_better > 0.99


@pytest.mark.parametrize(("before", "after"), [(0.0, 1.0), (1.0, 1.0), (1.0, 0.0)])
def test_a_difference_without_spread_is_not_called_certain(before: float, after: float) -> None:
    a = dict.fromkeys(range(20), before)
    b = dict.fromkeys(range(20), after)
    found = paired_difference(a, b, replicates=1000, seed=0)
    assert found.method == "newcombe"
    assert found.high - found.low > 0.1
    assert found.low <= found.value <= found.high
    assert found.p_better == {1.0: 1.0, 0.0: 0.5, -1.0: 0.0}[after - before]


@pytest.mark.parametrize("step", [0.0, 1.0])
def test_equal_differences_of_ratings_are_not_called_certain(step: float) -> None:
    a = {number: 3.0 + number % 4 for number in range(20)}
    b = {number: value + step for number, value in a.items()}
    found = paired_difference(a, b, replicates=1000, seed=0, scale=(1.0, 10.0))
    assert (found.value, found.method) == (step, "wilson")
    assert found.low == pytest.approx(step - UNSEEN * (9 + step), abs=1e-5)
    assert found.high == pytest.approx(step + UNSEEN * (9 - step), abs=1e-5)
    assert found.p_better == (1.0 if step else 0.5)


def test_newcombe_is_antisymmetric() -> None:
    low, high = newcombe(0.0, 1.0, 50)
    assert newcombe(1.0, 0.0, 50) == pytest.approx((-high, -low))


def test_any_statistic_can_be_bootstrapped() -> None:
    values = np.arange(50, dtype=float)
    medians = bootstrap_of(
        lambda drawn: float(np.median(values[drawn])), 50, replicates=400, seed=0
    )
    assert medians.shape == (400,)
    assert 15 < np.quantile(medians, 0.025) < 24.5 < np.quantile(medians, 0.975) < 35


def test_a_thousand_replicates_for_two_models_take_under_a_second() -> None:
    values, groups = two_turns(805, seed=4)
    began = time.process_time()
    for seed in (0, 1):
        bootstrap_mean(values, groups, replicates=1000, seed=seed)
    assert time.process_time() - began < 1.0


PUBLISHED = ("mamba_0_5_dpo_ep1", "mamba_0_75_dpo_ep3", "mamba_0_875_dpo_ep1",
             "ultrachat_baseline", "llama-2-chat-7b")  # fmt: skip


def published(folder: Path, model: str) -> list[dict[str, Any]]:
    path = folder / "model_judgment" / f"{model}.gpt-4_single.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def error_of(interval: Interval | Difference) -> float:
    return (interval.high - interval.low) / (2 * 1.96)


@pytest.mark.parametrize("model", PUBLISHED)
def test_errors_of_published_scores_are_those_of_an_independent_script(
    model: str, mt_bench_dir: Path
) -> None:
    """160 ratings of 7B models: 0.26 to 0.29 as if all were independent, 0.31 to 0.38 by question,
    0.22 to 0.31 by question within categories; each +- the bootstrap's own noise."""
    questions = (mt_bench_dir / "question.jsonl").read_text(encoding="utf-8").splitlines()
    strata = {row["question_id"]: row["category"] for row in map(json.loads, questions)}
    rows = published(mt_bench_dir, model)
    values = [float(row["score"]) for row in rows]
    groups = [row["question_id"] for row in rows]
    naive = bootstrap_mean(values, replicates=4000, seed=0)
    clustered = bootstrap_mean(values, groups, replicates=4000, seed=0)
    within = bootstrap_mean(values, groups, replicates=4000, seed=0, strata=strata)
    assert 0.25 < error_of(naive) < 0.30
    assert 0.30 < error_of(clustered) < 0.39
    assert 0.21 < error_of(within) < 0.32


def test_pairing_published_models_by_question_is_much_tighter(mt_bench_dir: Path) -> None:
    means: dict[str, dict[Any, float]] = {}
    for model in PUBLISHED:
        ratings: dict[Any, list[float]] = {}
        for row in published(mt_bench_dir, model):
            ratings.setdefault(row["question_id"], []).append(row["score"])
        means[model] = {question: sum(v) / len(v) for question, v in ratings.items()}
    for a, b in pairwise(PUBLISHED):
        found = paired_difference(means[a], means[b], replicates=4000, seed=0)
        apart = [means[b][q] - means[a][q] for q in means[a]]
        assert error_of(found) == pytest.approx(np.std(apart, ddof=1) / np.sqrt(80), rel=0.06)
        alone = [
            error_of(bootstrap_mean(list(means[m].values()), replicates=4000, seed=0))
            for m in (a, b)
        ]
        assert error_of(found) < 0.7 * np.hypot(*alone)
