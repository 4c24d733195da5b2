"""In which order are the examples of a training split seen?

The order is a pure function of the recipe and the number of examples, so it is the same on one
process and on eight, and after a resume. Each optimizer step takes exactly `global_batch_size`
examples: the last step of an epoch is filled from the epoch's own beginning, as accelerate does.

A training whose data, seed or batch was changed on the way (`--allow-change`) goes on at its place:
the steps done keep their numbers, and the pass over the examples that was under way goes on after
as many examples as were taken of it, in the order that the new inputs give.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from zephyrctl.config.schema.training import Training
from zephyrctl.errors import DataError


@dataclass(frozen=True)
class Place:
    """How far a training has come after so many optimizer steps."""

    step: int = 0
    epoch: int = 0
    """Passes over the examples that are done."""
    taken: int = 0
    """Examples that were taken of the pass under way."""


@dataclass(frozen=True)
class Order:
    """Indices of examples for the whole training, `steps * global_batch_size` of them."""

    indices: list[int]
    steps: int
    repeated: int
    """Examples of an epoch that are seen twice in it, to fill its last step."""
    examples: int
    """Examples in the training split, seen or not."""
    begun: Place = Place()
    """Where these inputs began to count; the steps before it are filled with any examples."""

    @property
    def batch(self) -> int:
        """Examples of a step."""
        return len(self.indices) // self.steps

    def place(self, step: int) -> Place:
        """Where the training is after `step` steps, which is not before `begun`."""
        done = step - self.begun.step
        first = math.ceil((self.examples - self.begun.taken) / self.batch)
        if done < first:
            return Place(step, self.begun.epoch, self.begun.taken + done * self.batch)
        epochs, rest = divmod(done - first, math.ceil(self.examples / self.batch))
        return Place(step, self.begun.epoch + 1 + epochs, rest * self.batch)

    def epochs(self, step: int) -> float:
        """Passes over the examples after `step` steps."""
        begun = self.begun.epoch + self.begun.taken / max(self.examples, 1)
        return begun + (step - self.begun.step) * self.batch / max(self.examples, 1)

    def step(self, number: int) -> list[int]:
        """The examples of one step, counted from 0."""
        return self.indices[number * self.batch : (number + 1) * self.batch]


def total_steps(training: Training, *, examples: int) -> int:
    """Optimizer steps of a stage with so many examples."""
    if training.max_steps is not None:
        return training.max_steps
    return math.ceil(training.epochs * math.ceil(examples / training.global_batch_size))


def plan(
    training: Training, *, lengths: Sequence[int], seed: int, begun: Place | None = None
) -> Order:
    """Shuffle each epoch, fill its last step, and sort each step's examples by length.

    `lengths` are tokens per example, `(N,)`. Within a step the longest come first: the loss of a
    step does not depend on the order inside it, rows of like length need less padding, and a step
    that does not fit into memory fails at its beginning. `begun` is where a checkpoint stands.
    """
    size, count = training.global_batch_size, len(lengths)
    per_epoch = math.ceil(count / size)
    steps = total_steps(training, examples=count)
    planned = _plan(size, steps, lengths=lengths, seed=seed, begun=Place())
    if begun is None or (begun.step <= steps and planned.place(begun.step) == begun):
        return planned
    if begun.taken >= count:
        begun = Place(begun.step, begun.epoch + 1, 0)
    left_of_pass = math.ceil((count - begun.taken) / size)
    to_come = steps - (begun.epoch + 1) * per_epoch + left_of_pass
    if training.max_steps is not None:
        to_come = training.max_steps - begun.step
    if to_come <= 0:
        raise DataError(
            f"nothing is left to train: the checkpoint is of step {begun.step}, and with these "
            f"inputs training ends at step {begun.step + to_come}",
            hint="more steps or epochs, or --force to begin afresh",
        )
    return _plan(size, begun.step + to_come, lengths=lengths, seed=seed, begun=begun)


def _plan(size: int, steps: int, *, lengths: Sequence[int], seed: int, begun: Place) -> Order:
    """`steps` steps of `size` examples; those before `begun` are copies of the first after it."""
    per_epoch = math.ceil(len(lengths) / size)
    wanted = (steps - begun.step) * size
    indices: list[int] = []
    epoch, taken = begun.epoch, begun.taken
    while len(indices) < wanted:
        rng = torch.Generator().manual_seed(seed + epoch)
        shuffled = torch.randperm(len(lengths), generator=rng).tolist()
        rest = shuffled[taken:]
        filled = math.ceil(len(rest) / size) * size
        copies = math.ceil(filled / len(shuffled))
        indices += (rest + shuffled * copies)[:filled]
        epoch, taken = epoch + 1, 0
    indices = indices[:wanted]
    for start in range(0, len(indices), size):
        step = indices[start : start + size]
        indices[start : start + size] = sorted(step, key=lambda i: (-lengths[i], i))
    done = indices[:size] * begun.step
    repeated = per_epoch * size - len(lengths)
    return Order([*done, *indices], steps, repeated, len(lengths), begun)
