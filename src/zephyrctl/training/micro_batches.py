"""How is an optimizer step split into forward passes?

A step always takes the same examples. How many of them go through the model at once is decided by
tokens: few long ones or many short ones, so that every forward pass is about equally large. Within
a step the largest pass comes first. All processes take equally many examples in a pass, because
TRL gathers one number per example from each.
"""

import bisect
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch.utils.data import Sampler

from zephyrctl.config.schema.training import Training
from zephyrctl.errors import ConfigError
from zephyrctl.training.order import Order

DEFAULT_TOKENS = 8192
"""Tokens of a pass where neither the recipe nor the memory plan names them."""


@dataclass(frozen=True)
class Costs:
    """What each example costs in a forward pass: `tokens` of each, `(N,)`.

    Where `padded`, a pass costs as many times its longest example as it has examples; otherwise the
    sum over its examples.
    """

    tokens: Sequence[int]
    padded: bool

    def of(self, examples: Sequence[int]) -> int:
        """Tokens that a pass over these examples computes, padding included."""
        each = [self.tokens[i] for i in examples]
        return len(each) * max(each) if self.padded else sum(each)


@dataclass(frozen=True)
class MicroBatches:
    """The passes of one process over the whole training, `per_step` of them in each step."""

    batches: list[list[int]]
    per_step: int
    largest: int
    """Most examples in one pass of any process."""
    most_tokens: int
    """Most tokens in one pass of any process, padding included."""
    heaviest: int = 0
    """Which pass has most tokens, the same for all processes."""


def check_division(training: Training, *, world_size: int, where: str) -> None:
    """ConfigError where the global batch cannot be shared evenly."""
    size = training.global_batch_size
    share, rest = divmod(size, world_size)
    if rest or share == 0:
        raise ConfigError(
            f"global_batch_size {size} cannot be shared by {world_size} processes",
            where=f"{where}.global_batch_size",
            hint=f"--set {where}.global_batch_size={max(1, round(size / world_size)) * world_size}",
        )
    wanted = training.micro_batch_size
    if wanted != "auto" and share % wanted:
        raise ConfigError(
            f"micro_batch_size {wanted} does not divide the {share} examples "
            f"that each of {world_size} processes takes per step",
            where=f"{where}.micro_batch_size",
            hint=f"--set {where}.micro_batch_size=auto",
        )


def plan(
    training: Training, order: Order, costs: Costs, *, world_size: int, rank: int
) -> MicroBatches:
    """The passes that the recipe asks for."""
    if training.micro_batch_size != "auto":
        size = training.micro_batch_size
        return by_number(order, costs, size=size, world_size=world_size, rank=rank)
    limit = limit_of(training)
    return by_tokens(order, costs, limit=limit, world_size=world_size, rank=rank)


def limit_of(training: Training) -> int:
    """Most tokens of a pass."""
    wanted = training.micro_batch_tokens
    return DEFAULT_TOKENS if wanted == "auto" else wanted


def by_tokens(
    order: Order, costs: Costs, *, limit: int, world_size: int, rank: int
) -> MicroBatches:
    """As few passes per step as the limit of tokens allows, the same number in every step.

    The order must be longest first within each step (`order.plan` with the same tokens). An example
    that alone is over the limit is not split: its step may then have passes as large as that.
    """
    steps = [_deal(order.step(number), world_size=world_size) for number in range(order.steps)]
    per_step = max(
        len(_ends(_longest(blocks, costs), padded=costs.padded, limit=limit)) for blocks in steps
    )
    return _chosen([_balanced(blocks, costs, parts=per_step) for blocks in steps], costs, rank=rank)


def by_number(order: Order, costs: Costs, *, size: int, world_size: int, rank: int) -> MicroBatches:
    """Passes of `size` examples each, which divides the share of a process."""
    steps = []
    for number in range(order.steps):
        blocks = _deal(order.step(number), world_size=world_size)
        steps.append([blocks[start : start + size] for start in range(0, len(blocks), size)])
    return _chosen(steps, costs, rank=rank)


class ListedBatches(Sampler[list[int]]):
    """The planned passes, as a batch sampler."""

    def __init__(self, batches: list[list[int]]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


_Block = list[int]
"""One example for each process, of about equal length."""


def _deal(examples: Sequence[int], *, world_size: int) -> list[_Block]:
    """Blocks of neighbours in the sorted step, every second one reversed, so that no process
    always gets the longer one."""
    blocks = [
        list(examples[start : start + world_size]) for start in range(0, len(examples), world_size)
    ]
    return [block[::-1] if number % 2 else block for number, block in enumerate(blocks)]


def _ends(tokens: Sequence[int], *, padded: bool, limit: int, parts: int = 0) -> list[int]:
    """Where runs of blocks end, each as long as the limit allows; at least `parts` of them: a run
    ends early rather than leave too few blocks for the others.

    `tokens` are those of each block's longest example, longest first.
    """
    sums = [0, *itertools.accumulate(tokens)]
    ends: list[int] = []
    start = 0
    while start < len(tokens):
        if padded:
            end = start + limit // tokens[start]
        else:
            end = bisect.bisect_right(sums, sums[start] + limit) - 1
        latest = len(tokens) - max(0, parts - len(ends) - 1)
        start = max(start + 1, min(end, latest))
        ends.append(start)
    return ends


def _balanced(blocks: Sequence[_Block], costs: Costs, *, parts: int) -> list[list[_Block]]:
    """Exactly `parts` runs whose largest is as small as it can be, the largest first."""
    tokens = _longest(blocks, costs)
    low, high = tokens[0], tokens[0] * len(tokens)
    while low < high:
        middle = (low + high) // 2
        if len(_ends(tokens, padded=costs.padded, limit=middle)) <= parts:
            high = middle
        else:
            low = middle + 1
    ends = _ends(tokens, padded=costs.padded, limit=low, parts=parts)
    runs = [list(blocks[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
    return sorted(runs, key=lambda run: -_cost(run, costs))


def _longest(blocks: Sequence[_Block], costs: Costs) -> list[int]:
    return [max(costs.tokens[i] for i in block) for block in blocks]


def _cost(blocks: Sequence[_Block], costs: Costs) -> int:
    """Tokens of the process that has most of them in a pass over these blocks."""
    return max(costs.of(share) for share in zip(*blocks, strict=True))


def _chosen(steps: list[list[list[_Block]]], costs: Costs, *, rank: int) -> MicroBatches:
    passes = [run for runs in steps for run in runs]
    tokens = [_cost(run, costs) for run in passes]
    return MicroBatches(
        batches=[[block[rank] for block in run] for run in passes],
        per_step=len(steps[0]),
        largest=max(len(run) for run in passes),
        most_tokens=max(tokens),
        heaviest=tokens.index(max(tokens)),
    )
