"""The order of examples."""

from collections import Counter

import pytest

from zephyrctl.config.schema.training import Sft
from zephyrctl.training import order


def plan(n: int, **settings: float) -> order.Order:
    return order.plan(Sft.model_validate(settings), lengths=list(range(1, n + 1)), seed=7)


def test_each_epoch_sees_every_example_and_fills_its_last_step() -> None:
    found = plan(10, global_batch_size=4, epochs=2)
    assert found.steps == 6
    assert (found.repeated, found.examples) == (2, 10)
    for epoch in (found.indices[:12], found.indices[12:]):
        seen = Counter(epoch)
        assert set(seen) == set(range(10))
        assert max(seen.values()) == 2


def test_a_fraction_of_an_epoch_and_a_number_of_steps() -> None:
    assert plan(10, global_batch_size=4, epochs=0.5).steps == 2
    assert plan(10, global_batch_size=4, max_steps=7).steps == 7
    assert len(plan(10, global_batch_size=4, max_steps=7).indices) == 28


def test_steps_of_the_published_recipe() -> None:
    # zephyr-7b-dpo-full: DPO on 61,135 pairs at batch 128 took 478 steps
    assert order.total_steps(Sft(global_batch_size=128), examples=61_135) == 478


def test_fewer_examples_than_a_step_are_repeated() -> None:
    found = plan(3, global_batch_size=8)
    assert found.steps == 1
    assert sorted(Counter(found.indices).values()) == [2, 3, 3]


def test_a_step_starts_with_its_longest_example() -> None:
    found = plan(12, global_batch_size=4)
    for start in range(0, 12, 4):
        step = found.indices[start : start + 4]
        assert step == sorted(step, reverse=True)


def test_the_seed_decides_and_epochs_differ() -> None:
    training = Sft(global_batch_size=2, epochs=2)
    same = [order.plan(training, lengths=[5] * 8, seed=1).indices for _ in range(2)]
    other = order.plan(training, lengths=[5] * 8, seed=2).indices
    assert same[0] == same[1]
    assert same[0] != other
    assert same[0][:8] != same[0][8:]


@pytest.mark.parametrize("examples", [1, 5, 8])
def test_every_step_has_the_global_batch(examples: int) -> None:
    found = plan(examples, global_batch_size=4, epochs=3)
    assert len(found.indices) == found.steps * 4
    assert [i for n in range(found.steps) for i in found.step(n)] == found.indices
