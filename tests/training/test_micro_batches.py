from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zephyrctl.config.schema.training import Dpo, Sft
from zephyrctl.errors import ConfigError
from zephyrctl.training import order
from zephyrctl.training.micro_batches import (
    Costs,
    ListedBatches,
    by_number,
    by_tokens,
    check_division,
)


def ordered(lengths: list[int], *, batch: int, epochs: float = 1.0) -> order.Order:
    training = Dpo(global_batch_size=batch, epochs=epochs)
    return order.plan(training, lengths=lengths, seed=7)


lengths_of_splits = st.lists(st.integers(1, 300), min_size=1, max_size=60)


@settings(max_examples=150, deadline=None)
@given(
    lengths=lengths_of_splits,
    per_process=st.integers(1, 9),
    world=st.integers(1, 4),
    limit=st.integers(1, 2000),
    padded=st.booleans(),
)
def test_every_step_keeps_its_examples_and_its_processes_go_in_step(
    lengths: list[int], per_process: int, world: int, limit: int, padded: bool
) -> None:
    planned = ordered(lengths, batch=per_process * world)
    costs = Costs(lengths, padded=padded)
    ranks = [
        by_tokens(planned, costs, limit=limit, world_size=world, rank=rank) for rank in range(world)
    ]
    per_step = ranks[0].per_step
    for step in range(planned.steps):
        passes = [r.batches[step * per_step : (step + 1) * per_step] for r in ranks]
        seen = sorted(i for own in passes for each in own for i in each)
        assert seen == sorted(planned.step(step))
        for together in zip(*passes, strict=True):
            assert len({len(each) for each in together}) == 1
            assert all(each for each in together)
            longest = max(lengths[i] for i in planned.step(step))
            assert all(costs.of(each) <= max(limit, longest) for each in together)
        tokens = [
            max(costs.of(each) for each in together) for together in zip(*passes, strict=True)
        ]
        assert tokens == sorted(tokens, reverse=True)
    assert ranks[0].most_tokens == max(costs.of(b) for r in ranks for b in r.batches)
    assert ranks[0].largest == max(len(b) for b in ranks[0].batches)


def test_a_generous_limit_gives_one_pass_and_a_tight_one_a_pass_for_each_example() -> None:
    lengths = [10, 20, 30, 40]
    planned = ordered(lengths, batch=4)
    costs = Costs(lengths, padded=False)
    one = by_tokens(planned, costs, limit=100, world_size=1, rank=0)
    each = by_tokens(planned, costs, limit=40, world_size=1, rank=0)
    assert (one.per_step, one.most_tokens) == (1, 100)
    assert each.per_step == 3  # 40 | 30 | 20 + 10
    assert each.batches == [[3], [2], [1, 0]]


def test_passes_of_a_step_are_balanced_not_filled_to_the_limit() -> None:
    lengths = [50, 50, 50, 50, 50, 50]
    made = by_tokens(
        ordered(lengths, batch=6), Costs(lengths, padded=False), limit=250, world_size=1, rank=0
    )
    assert [len(each) for each in made.batches] == [3, 3]


def test_padding_counts_as_tokens() -> None:
    lengths = [100, 10, 10, 10]
    padded = Costs(lengths, padded=True)
    made = by_tokens(ordered(lengths, batch=4), padded, limit=150, world_size=1, rank=0)
    assert [sorted(each) for each in made.batches] == [[0], [1, 2, 3]]
    assert padded.of([0, 1]) == 200


@pytest.mark.parametrize(("size", "per_step"), [(1, 4), (2, 2), (4, 1)])
def test_a_stated_number_of_examples_is_kept(size: int, per_step: int) -> None:
    lengths = [9, 8, 7, 6, 5, 4, 3, 2]
    planned = ordered(lengths, batch=8)
    made = by_number(planned, Costs(lengths, padded=True), size=size, world_size=2, rank=1)
    assert made.per_step == per_step
    assert {len(each) for each in made.batches} == {size}


def test_the_sampler_gives_the_planned_passes() -> None:
    listed = ListedBatches([[3, 1], [2]])
    assert (list(listed), len(listed)) == ([[3, 1], [2]], 2)


@pytest.mark.parametrize(
    ("settings", "processes", "message"),
    [
        ({"global_batch_size": 10}, 4, "cannot be shared by 4 processes"),
        ({"global_batch_size": 1}, 2, "cannot be shared by 2 processes"),
        ({"global_batch_size": 8, "micro_batch_size": 3}, 1, "micro_batch_size 3 does not divide"),
    ],
)
def test_a_batch_that_does_not_divide_is_refused(
    settings: dict[str, Any], processes: int, message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        check_division(Sft.model_validate(settings), world_size=processes, where="sft")
    assert "--set sft." in str(caught.value.hint)
