"""In which order are the examples of a training split seen?

The order is a pure function of the recipe and the number of examples, so it is the same on one
process and on eight, and after a resume. Each optimizer step takes exactly `global_batch_size`
examples: the last step of an epoch is filled from the epoch's own beginning, as accelerate does.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from zephyrctl.config.schema.training import Training


@dataclass(frozen=True)
class Order:
    """Indices of examples for the whole training, `steps * global_batch_size` of them."""

    indices: list[int]
    steps: int
    repeated: int
    """Examples of an epoch that are seen twice in it, to fill its last step."""
    examples: int
    """Examples in the training split, seen or not."""

    def step(self, number: int) -> list[int]:
        """The examples of one step, counted from 0."""
        size = len(self.indices) // self.steps
        return self.indices[number * size : (number + 1) * size]


def total_steps(training: Training, *, examples: int) -> int:
    """Optimizer steps of a stage with so many examples."""
    if training.max_steps is not None:
        return training.max_steps
    return math.ceil(training.epochs * math.ceil(examples / training.global_batch_size))


def plan(training: Training, *, lengths: Sequence[int], seed: int) -> Order:
    """Shuffle each epoch, fill its last step, and sort each step's examples by length.

    `lengths` are tokens per example, `(N,)`. Within a step the longest come first: the loss of a
    step does not depend on the order inside it, rows of like length need less padding, and a step
    that does not fit into memory fails at its beginning.
    """
    size = training.global_batch_size
    steps = total_steps(training, examples=len(lengths))
    per_epoch = math.ceil(len(lengths) / size)
    indices: list[int] = []
    for epoch in range(math.ceil(steps / per_epoch)):
        rng = torch.Generator().manual_seed(seed + epoch)
        shuffled = torch.randperm(len(lengths), generator=rng).tolist()
        copies = math.ceil(per_epoch * size / len(shuffled))
        indices += (shuffled * copies)[: per_epoch * size]
    indices = indices[: steps * size]
    for start in range(0, len(indices), size):
        step = indices[start : start + size]
        indices[start : start + size] = sorted(step, key=lambda i: (-lengths[i], i))
    return Order(indices, steps, per_epoch * size - len(lengths), len(lengths))
