"""Which examples does each step take, and in which forward passes?"""

from dataclasses import replace
from pathlib import Path

from zephyrctl.config.schema.training import Training
from zephyrctl.training import micro_batches, order
from zephyrctl.training.layout import Layout
from zephyrctl.training.method import Method, Splits
from zephyrctl.training.micro_batches import Costs
from zephyrctl.training.processes import World
from zephyrctl.training.trl_arguments import Job

LARGEST_EVAL_BATCH = 32


def make(
    method: Method,
    splits: Splits,
    layout: Layout,
    *,
    seed: int,
    world: World,
    begun: order.Place | None = None,
) -> tuple[Splits, order.Order, Job]:
    """Which examples each step takes, and in which passes; rows that no step takes are left out,
    so that nothing is computed for them. `begun` is where the checkpoint stands."""
    costs, test_costs = method.costs(splits, layout)
    planned = order.plan(method.training, lengths=costs, seed=seed, begun=begun)
    used = sorted(set(planned.indices))
    if len(used) < len(splits.train):
        place = {index: number for number, index in enumerate(used)}
        splits = replace(
            splits, train=splits.train.select(used), lengths=[splits.lengths[i] for i in used]
        )
        costs = [costs[i] for i in used]
        planned = replace(planned, indices=[place[index] for index in planned.indices])
    each = Costs(costs, padded=not layout.padding_free)
    passes = micro_batches.plan(
        method.training, planned, each, world_size=world.size, rank=world.rank
    )
    job = Job(
        passes=passes,
        eval_batch_size=_eval_batch_size(method.training, passes, test_costs),
        steps=planned.steps,
        world=world,
        folder=Path(),
        has_test=len(splits.test) > 0,
        resumes=False,
    )
    return splits, planned, job


def _eval_batch_size(
    training: Training, passes: micro_batches.MicroBatches, costs: list[int]
) -> int:
    """Held-out rows per forward pass: as many as a training pass may have tokens."""
    if training.micro_batch_size != "auto" or not costs:
        return passes.largest
    return min(LARGEST_EVAL_BATCH, max(1, micro_batches.limit_of(training) // max(costs)))
