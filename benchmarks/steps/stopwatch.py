"""How long does each optimizer step take, whoever takes it?

A callback that transformers' Trainer adds to every trainer it builds, so that no contender is
subclassed or asked to do anything. A step lasts from the end of the one before it to its own end:
fetching, collating, forward, backward, update, logging. Where a reference's log-probs are computed
before the first step, their time is kept beside it, per pair.
"""

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import TrainerCallback
from transformers import trainer as transformers_trainer
from trl.trainer.dpo_trainer import DPOTrainer


class Measured(BaseException):
    """All steps are taken; what would follow (publishing) is not wanted."""


@dataclass
class Record:
    """What one contender did, step by step."""

    wall: list[float] = field(default_factory=list)
    """Seconds of each step: by CUDA events on a GPU, else by the clock."""
    cpu: list[float] = field(default_factory=list)
    """CPU seconds of each step, all threads."""
    slots: list[int] = field(default_factory=list)
    """Token positions that each step sent through the layers, padding included."""
    logs: list[dict[str, float]] = field(default_factory=list)
    """What the trainer logged for each step."""
    reference_pairs: int = 0
    reference_wall: float = 0.0
    reference_cpu: float = 0.0
    peak_rss_bytes: int = 0
    peak_device_bytes: int = 0


class Stopwatch(TrainerCallback):
    """Fills `record` while the trainer that it was given to trains."""

    record = Record()
    stop_after_steps = False
    begun = False

    def __init__(self) -> None:
        self._marks: list[tuple[float, float, Any]] = []
        self._slots = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count what goes through the embeddings with a gradient: the policy, not its reference."""
        Stopwatch.begun = True

        def count(_: Any, inputs: tuple[Any, ...], __: Any) -> None:
            if torch.is_grad_enabled():
                self._slots += inputs[0].numel()

        kwargs["model"].get_input_embeddings().register_forward_hook(count)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The first step has none before it."""
        if not self._marks:
            self._mark()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """After the update."""
        self._mark()
        self.record.slots.append(self._slots)
        self._slots = 0

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Losses and gradient norms, for the comparison of contenders."""
        logs = kwargs["logs"]
        if "loss" in logs:
            numbers = {k: float(v) for k, v in logs.items() if isinstance(v, int | float)}
            self.record.logs.append(numbers)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Turn marks into times, and note the memory before anything is saved."""
        pairs = list(zip(self._marks, self._marks[1:], strict=False))
        self.record.cpu = [after[1] - before[1] for before, after in pairs]
        if torch.cuda.is_available():
            torch.cuda.synchronize()
            self.record.wall = [a[2].elapsed_time(b[2]) / 1000 for a, b in pairs]
            self.record.peak_device_bytes = torch.cuda.max_memory_allocated()
        else:
            self.record.wall = [after[0] - before[0] for before, after in pairs]
        self.record.peak_rss_bytes = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if self.stop_after_steps:
            raise Measured

    def _mark(self) -> None:
        event = None
        if torch.cuda.is_available():
            event = torch.cuda.Event(enable_timing=True)
            event.record()
        self._marks.append((time.perf_counter(), time.process_time(), event))


def attach(*, stop_after_steps: bool) -> Record:
    """Measure the trainer that this process is about to build."""
    Stopwatch.record = Record()
    Stopwatch.stop_after_steps = stop_after_steps
    Stopwatch.begun = False
    transformers_trainer.DEFAULT_CALLBACKS.append(Stopwatch)
    DPOTrainer.compute_ref_log_probs = _timed(DPOTrainer.compute_ref_log_probs)
    return Stopwatch.record


def _timed(score: Callable[..., Any]) -> Callable[..., Any]:
    """Add up the time of reference passes before the first step; later ones are part of a step."""

    def timed(self: Any, model: Any, inputs: Any) -> Any:
        if Stopwatch.begun:
            return score(self, model, inputs)
        record = Stopwatch.record
        start, start_cpu = time.perf_counter(), time.process_time()
        found = score(self, model, inputs)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        record.reference_wall += time.perf_counter() - start
        record.reference_cpu += time.process_time() - start_cpu
        record.reference_pairs += len(inputs["input_ids"]) // 2
        return found

    return timed
