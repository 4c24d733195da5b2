"""How is a job told to end, and when is it left to a cluster that does not answer?"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from zephyrctl.errors import Interrupted
from zephyrctl.launch.plan import LaunchPlan
from zephyrctl.launch.slurm import controller, record
from zephyrctl.launch.slurm.controller import Job
from zephyrctl.launch.stopping import Request
from zephyrctl.runs.store import Run, StageDir

SOON_S = 0.5
"""Between two looks while a job is about to end."""
SLACK_S = 15.0
"""Added to the grace: the cluster takes its time to deliver a signal and to end a job."""
_LAST_WORD_S = 2.0
_ANSWER_S = 15.0
"""What a cluster gets to answer when the user wants to leave: one that heard of the first request,
and may only be busy, more than one that did not."""


@dataclass
class Stop(Request):
    """A request to stop, and what was done about it."""

    heard_at: float | None = None
    """When the cluster heard it, by the monotonic clock."""
    killed: bool = False
    """The cluster heard that the job has to end now."""
    told: bool = False
    """It was said to the user."""
    due: float = 0.0
    """When the cluster is spoken to again."""

    def is_new(self) -> bool:
        """Whether a request was not taken up yet."""
        return self.again or (self.first is not None and not self.told)


def pass_on(
    job: Job, plan: LaunchPlan, stop: Stop, *, waits: bool, say: Callable[[str], None]
) -> None:
    """Pass a request to stop on to the job, once; end it where it takes too long or is hurried. A
    cluster that does not answer is asked again, until another Ctrl-C raises Interrupted."""
    now = time.monotonic()
    if not stop.told:
        stop.told = True
        again = " (Ctrl-C again to kill)" if stop.first == signal.SIGINT else ""
        text = f"stopping Slurm job {job.number}: up to {plan.grace_s:.0f} s to save{again}"
        say(f"taking Slurm job {job.number} out of the queue" if waits else text)
    if stop.heard_at is None and not stop.again and now >= stop.due:
        stop.due = now + SOON_S
        if controller.let_it_end(job) and controller.ask_to_stop(job):
            stop.heard_at = now
    late = stop.heard_at is not None and now - stop.heard_at > plan.grace_s + SLACK_S
    if stop.again:
        stop.again = False  # one more of them cuts this short
        patience_s = _LAST_WORD_S if stop.heard_at is None else _ANSWER_S
        stop.killed = controller.kill(job, patience_s=patience_s)
        if not stop.killed:
            raise left(Run(plan.run).stage(plan.stage), job)
    elif late and not stop.killed and now >= stop.due:
        stop.due = now + SOON_S
        stop.killed = controller.kill(job)


def left(stage: StageDir, job: Job | None) -> Interrupted:
    """For a Ctrl-C of which the cluster could not be told."""
    text, later = "a Slurm job may go on", "squeue --me"
    if job is not None:
        text, later = f"Slurm job {job.number} goes on", job.scancel
    return Interrupted(
        f"{stage.name} stopped by Ctrl-C; the cluster does not answer, and {text} without this "
        "command",
        where=str(record.path_of(stage)),
        hint=f"{later}   (once scontrol ping says UP; the same command follows the job)",
    )
