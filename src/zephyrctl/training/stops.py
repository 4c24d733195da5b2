"""When is a request to stop answered while a model is trained?

After a step, between two batches of the held-out evaluation, and right after a checkpoint was
written: by a vote, because a signal may reach one process only, and the others would wait for it
for ever. The vote is taken at most about twice a second; for one process it costs nothing.
"""

import time
from contextlib import ExitStack
from typing import Any

import torch
from transformers import TrainerCallback

from zephyrctl.errors import StoppedEarly, Terminated, ZephyrctlError
from zephyrctl.runs import heartbeat, signals
from zephyrctl.runs.store import StageDir
from zephyrctl.training import checkpoints
from zephyrctl.training.processes import count_of_processes, largest
from zephyrctl.training.progress import EVALUATION, Progress

VOTE_S = 1.0
"""Seconds between two votes, as far as steps allow."""
_ALWAYS = 50
"""So many places vote each, before it is known how long one takes."""


class EvaluationStopped(Exception):
    """All processes agreed to stop in the middle of an evaluation."""


class Vote:
    """Whether any process was asked to stop; every process must ask equally often."""

    def __init__(self) -> None:
        self._asked = 0
        self._skip = 0
        self._began = time.perf_counter()
        self._places = 0

    def ask(self, *, device: torch.device) -> bool:
        """True on every process or on none."""
        asked = signals.stop_signal() is not None
        if count_of_processes() == 1:
            return asked
        self._asked += 1
        self._places += 1
        if self._skip > 0:
            self._skip -= 1
            return False
        now = time.perf_counter()
        each = (now - self._began) / self._places
        found, slowest = largest([float(asked), each], device=device)
        self._began, self._places = time.perf_counter(), 0
        if self._asked >= _ALWAYS:
            # The slowest process's pace, so that all leave out equally many.
            self._skip = max(0, int(VOTE_S / max(slowest, 1e-6)) - 1)
        return found > 0


class Stops(TrainerCallback):
    """Answers requests to stop; registered after `Watch`, which does the step's own work first."""

    def __init__(self, folder: StageDir, progress: Progress) -> None:
        self.answered = False
        """Training ends early, because that was asked for."""
        self._folder = folder
        self._progress = progress
        self._after_steps = Vote()
        self._in_evaluations = Vote()
        self._begun_at = 0
        self._first_step = ExitStack()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Remember where this attempt begins."""
        self._begun_at = state.global_step

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The first step may compile for minutes: it is no hang, and a stop leaves it at once."""
        if state.global_step == self._begun_at:
            self._first_step.enter_context(heartbeat.resting("first step"))
            self._first_step.enter_context(signals.at_once())

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """From here on a stop keeps the step."""
        self._first_step.close()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop after this step, with a checkpoint of it."""
        if self._after_steps.ask(device=args.device):
            self._answer(control)
            control.should_save = True

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Leave the evaluation where this was the last batch before a stop."""
        heartbeat.beat("evaluation")
        if self.answered or self._in_evaluations.ask(device=args.device):
            raise EvaluationStopped

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A request that came while the checkpoint was written is answered by that checkpoint."""
        if not self.answered and Vote().ask(device=args.device):
            self._answer(control)

    def put_off_evaluation(self, state: Any, control: Any) -> None:
        """Keep the step of an evaluation that was broken off, which the next attempt makes; the
        error of the stop where no step was taken in this one."""
        control.should_evaluate = False
        if state.global_step == self._begun_at:
            raise self.error(step=state.global_step, total=state.max_steps)
        self._progress.owe(EVALUATION)
        self._answer(control)
        control.should_save = True

    def raise_if_asked(self, *, step: int, total: int, device: torch.device) -> None:
        """The error of a stop on every process, where any was asked."""
        if self.answered or Vote().ask(device=device):
            raise self.error(step=step, total=total)

    def error(self, *, step: int, total: int) -> ZephyrctlError:
        """What a stop ends with: StoppedEarly where the same command goes on from a checkpoint."""
        stands = self._folder.resumable_work()
        if stands is None:
            try:
                signals.raise_if_stopping()
            except ZephyrctlError as own:
                return own
            return Terminated(f"stopped at step {step} of {total}, with no checkpoint yet")
        return StoppedEarly(
            f"stopped at step {step} of {total} on request; {stands}",
            where=str(checkpoints.newest(self._folder.checkpoints) or self._folder.checkpoints),
            hint="the same command goes on from here",
        )

    def _answer(self, control: Any) -> None:
        self.answered = True
        control.should_training_stop = True
