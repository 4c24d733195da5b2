"""How many repeats, or questions, would tell two models apart; against simulated truths."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from zephyrctl.evaluation.resolution import repeats_to_resolve

Z = 1.959963984540054


def drawn(
    questions: int, repeats: int, *, shift: float, between: float, luck: float, seed: int
) -> tuple[dict[int, list[float]], dict[int, list[float]]]:
    """Two models: `between` is the deviation of their difference from question to question,
    `luck` that of one repeat of either model."""
    rng = np.random.default_rng(seed)
    level = rng.normal(6, 2, questions)
    difference = shift + rng.normal(0, between, questions)
    a = level[:, None] + rng.normal(0, luck, (questions, repeats))
    b = (level + difference)[:, None] + rng.normal(0, luck, (questions, repeats))
    return dict(enumerate(a.tolist())), dict(enumerate(b.tolist()))


def mean_difference(a: dict[int, list[float]], b: dict[int, list[float]]) -> float:
    return float(np.mean([np.mean(b[q]) - np.mean(a[q]) for q in a]))


def found_to_differ(
    by: float, a: dict[int, list[float]], b: dict[int, list[float]]
) -> dict[int, list[float]]:
    """`b`, moved so that the difference found is exactly `by`."""
    move = by - mean_difference(a, b)
    return {q: [value + move for value in values] for q, values in b.items()}


def test_the_number_of_repeats_is_that_of_the_known_variances() -> None:
    a, b = drawn(4000, 3, shift=0.0, between=0.3, luck=1.0, seed=3)
    found = repeats_to_resolve(a, found_to_differ(0.02, a, b))
    # (0.3² + 2 · 1² / K) / 4000 has to fall under (0.02 / z)².
    exact = 2 / (4000 * (0.02 / Z) ** 2 - 0.3**2)
    assert found.repeats_needed is not None
    assert found.repeats_needed == pytest.approx(exact, rel=0.25)
    assert (found.repeats, found.is_bound) == (3, False)
    assert found.luck == pytest.approx((2 / 3) / (2 / 3 + 0.3**2), abs=0.05)


def test_so_many_repeats_do_tell_them_apart_and_half_as_many_do_not() -> None:
    """Simulated anew at the number found: the standard error falls to the difference over z."""
    a, b = drawn(300, 4, shift=0.0, between=0.3, luck=1.5, seed=8)
    found = repeats_to_resolve(a, found_to_differ(0.09, a, b))
    assert found.repeats_needed is not None
    assert found.repeats_needed > 4
    errors = []
    for repeats in (found.repeats_needed, found.repeats_needed // 2):
        many = (drawn(300, repeats, shift=0, between=0.3, luck=1.5, seed=s) for s in range(120))
        errors.append(float(np.std([mean_difference(a, b) for a, b in many])))
    assert errors[0] == pytest.approx(0.09 / Z, rel=0.2)
    assert errors[1] > 0.09 / Z


def test_a_repeat_that_was_not_parsed_changes_little() -> None:
    a, b = drawn(80, 3, shift=0.0, between=0.3, luck=1.0, seed=6)
    b = found_to_differ(0.25, a, b)
    whole = repeats_to_resolve(a, b)
    a[7], b[8] = a[7][:1], b[8][:2]
    found = repeats_to_resolve(a, b)
    assert (found.repeats, found.is_bound) == (3, False)
    assert found.luck == pytest.approx(whole.luck, rel=0.05)


def test_where_the_questions_differ_too_much_no_number_of_repeats_helps() -> None:
    a, b = drawn(80, 4, shift=0.3, between=3.0, luck=0.2, seed=2)
    found = repeats_to_resolve(a, b)
    assert found.repeats_needed is None
    assert not found.is_bound
    assert found.questions_needed is not None
    assert found.questions_needed > 80
    assert found.luck is not None
    assert found.luck < 0.1


def test_so_many_questions_do_tell_them_apart() -> None:
    a, b = drawn(200, 1, shift=0.0, between=1.2, luck=0.5, seed=4)
    found = repeats_to_resolve(a, found_to_differ(0.12, a, b))
    assert found.questions_needed is not None
    assert found.questions_needed > 200
    many = (
        drawn(found.questions_needed, 1, shift=0, between=1.2, luck=0.5, seed=s) for s in range(200)
    )
    error = np.std([mean_difference(a, b) for a, b in many])
    assert error == pytest.approx(0.12 / Z, rel=0.2)


def test_one_repeat_gives_only_a_bound_and_it_holds() -> None:
    held = 0
    for seed in range(20):
        a, b = drawn(80, 8, shift=0.1, between=0.1, luck=1.0, seed=seed)
        # The same differences as if all repeats were one of eight times the questions' spread.
        one = repeats_to_resolve(
            {q: [float(np.mean(a[q]))] for q in a}, {q: [float(np.mean(b[q]))] for q in a}
        )
        many = repeats_to_resolve(a, b)
        assert one.is_bound
        assert one.luck is None
        assert one.repeats_needed is not None
        if many.repeats_needed is not None:
            assert many.repeats_needed >= 8 * (one.repeats_needed - 1)
            held += 1
    assert held


def test_a_greedy_model_has_no_luck_that_repeats_could_take_away() -> None:
    a, b = drawn(60, 1, shift=0.1, between=1.0, luck=0.0, seed=5)
    found = repeats_to_resolve({q: v * 3 for q, v in a.items()}, {q: v * 3 for q, v in b.items()})
    assert (found.repeats, found.repeats_needed, found.luck) == (3, None, 0)


def test_questions_within_a_category_are_alike_and_need_fewer() -> None:
    rng = np.random.default_rng(1)
    strata = {q: q // 10 for q in range(80)}
    a = {q: [0.0] for q in range(80)}
    b = {q: [float(0.2 + 2 * (strata[q] % 2) - 1 + rng.normal(0, 0.3))] for q in range(80)}
    plain, within = repeats_to_resolve(a, b), repeats_to_resolve(a, b, strata=strata)
    assert plain.questions_needed is not None
    assert within.questions_needed is not None
    assert within.questions_needed < plain.questions_needed / 5


@pytest.mark.parametrize(
    ("a", "b"),
    [({}, {}), ({1: [0.0]}, {1: [1.0]}), ({1: [0.0], 2: [1.0]}, {1: [1.0], 2: [0.0]}),
     ({1: [0.0], 2: [0.0]}, {1: [1.0], 2: [1.0]})],
)  # fmt: skip
def test_without_a_difference_or_a_spread_there_is_nothing_to_say(
    a: dict[int, list[float]], b: dict[int, list[float]]
) -> None:
    found = repeats_to_resolve(a, b)
    assert (found.repeats_needed, found.questions_needed) == (None, None)


values = st.lists(st.floats(0, 10, width=16), min_size=2, max_size=2)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(values, values), min_size=2, max_size=12), st.floats(0.25, 4))
@example([([0.0, 0.0], [0.0, 1.0]), ([0.0, 2.0], [0.0, 3.0])], 2.6980364735082043)
def test_the_answer_does_not_depend_on_who_is_first_or_on_the_unit(
    rows: list[tuple[list[float], list[float]]], unit: float
) -> None:
    a = {n: row[0] for n, row in enumerate(rows)}
    b = {n: row[1] for n, row in enumerate(rows)}
    found = repeats_to_resolve(a, b)
    back = repeats_to_resolve(b, a)
    scaled = repeats_to_resolve(
        {n: [unit * v for v in of] for n, of in a.items()},
        {n: [unit * v for v in of] for n, of in b.items()},
    )
    for other in (back, scaled):
        for name in ("repeats_needed", "questions_needed"):
            one, two = getattr(found, name), getattr(other, name)
            assert (one is None) == (two is None) or max(one or 0, two or 0) > 1e6
            if one is not None and two is not None:
                assert abs(one - two) <= 1 + 1e-6 * one
