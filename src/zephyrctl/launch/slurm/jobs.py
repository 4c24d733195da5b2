"""How is a stage carried out as a job of a Slurm cluster: submitted once, followed, stopped?"""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from zephyrctl.config.schema.launch import Launch
from zephyrctl.errors import EnvironmentProblem, Interrupted
from zephyrctl.launch.plan import LaunchPlan
from zephyrctl.launch.slurm import commands, controller, outcome, record
from zephyrctl.launch.slurm.controller import Job, State, Unreachable
from zephyrctl.launch.slurm.ending import SLACK_S, SOON_S, Stop, left, pass_on
from zephyrctl.launch.slurm.record import Record
from zephyrctl.launch.slurm.submission import LOG, submission
from zephyrctl.launch.stopping import taking
from zephyrctl.runs import signals
from zephyrctl.runs.atomic import disk_full_is_an_error
from zephyrctl.runs.store import Run, StageDir

_TICK_S = 0.2
_LOOKS = 4
"""For a job of which sbatch was not told whether it was taken."""
_ON_ITS_OWN = "it goes on if this command is killed"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""SIGHUP is not among them: a lost connection ends this process and leaves the job alone."""


def start(
    plan: LaunchPlan,
    settings: Launch,
    *,
    on_poll: Callable[[], None] = lambda: None,
    on_stop: Callable[[str], None] = lambda text: None,
) -> None:
    """Submit the planned stage, or attach to the job that already works on it; follow it to its
    end and raise the error that ended it.

    `on_poll` is called a few times a second, `on_stop` with a sentence about the job. Ctrl-C ends
    the job and raises Interrupted, and so does a further one where the cluster does not hear of it;
    SIGTERM raises StoppedEarly where the same command can go on, else Terminated. A kill -9 leaves
    the job to the cluster.
    """
    controller.require()
    stage = Run(plan.run).stage(plan.stage)
    stop = Stop()
    with taking(stop, _SIGNALS), commands.unless(lambda: stop.again):
        signals.raise_if_stopping()  # asked for since the last look, before these handlers
        standing = record.read(stage)
        try:
            job = at_work(stage)
        except Unreachable as error:
            if stop.first == signal.SIGINT:
                raise left(stage, standing and standing.of_job()) from None
            raise _silent(stage, error) from None
        if standing is None or job is None:
            standing, job = _submit(plan, settings, stage, stop, say=on_stop)
        else:
            on_stop(f"{plan.stage:<6} follows Slurm job {job.number}; {_ON_ITS_OWN}")
        with commands.unless(stop.is_new):
            state = _follow(job, plan, settings, stop, on_poll=on_poll, say=on_stop)
    record.end(stage, standing, state)
    on_poll()
    failed = outcome.failure(stage, job.number, state, log_starts=standing.log_starts)
    if stop.first is not None:
        raise outcome.stopped(stop.first, stage, failed, finished=stage.is_finished())
    if failed is not None:
        raise failed


def at_work(stage: StageDir) -> Job | None:
    """The job that is queued or at work for a stage; None where there is none.

    Unreachable where the stage has a job and the cluster does not answer.
    """
    standing = record.read(stage)
    if standing is None or standing.ended is not None:
        return None
    job = standing.of_job()
    if job is None:
        job = controller.find(standing.mark, clusters=standing.clusters)
        if job is not None:
            record.with_job(stage, standing, job)
    state = None if job is None else controller.look(job)
    return job if state is not None and not state.ended else None


def _silent(stage: StageDir, error: Unreachable) -> EnvironmentProblem:
    return EnvironmentProblem(
        f"{stage.name} has a Slurm job, and the cluster does not answer: {error}",
        where=str(record.path_of(stage)),
        hint="try again later: scontrol ping",
    )


def _submit(
    plan: LaunchPlan,
    settings: Launch,
    stage: StageDir,
    stop: Stop,
    *,
    say: Callable[[str], None],
) -> tuple[Record, Job]:
    with disk_full_is_an_error(plan.log_dir):
        plan.log_dir.mkdir(parents=True, exist_ok=True)
    mark = f"zephyrctl-{secrets.token_hex(8)}"
    given = submission(plan, settings, environ=os.environ, mark=mark, folder=Path.cwd())
    if given.left_behind:
        say(f"{plan.stage:<6} not handed to the job: {', '.join(given.left_behind)}")
    if plan.secrets and controller.keeps_environments():
        say(
            f"{plan.stage:<6} this cluster's accounting stores what the job is handed, "
            f"{', '.join(plan.secrets)} among it"
        )
    log = plan.log_dir / LOG
    starts = log.stat().st_size if log.exists() else 0
    # What an earlier job left of errors would be taken for this one's.
    for pattern in ("error-rank*.json", "error-node*.json"):
        for old in stage.path.glob(pattern):
            old.unlink(missing_ok=True)
    begun = record.begin(stage, mark=mark, command=given.argv, log_starts=starts)
    try:
        job = controller.submit(given.argv, env=given.env)
    except Unreachable as error:
        job = _by_its_mark(stage, begun, error, asked=stop.first)
    except BaseException:
        record.path_of(stage).unlink(missing_ok=True)
        raise
    say(f"{plan.stage:<6} Slurm job {job.number} submitted; {_ON_ITS_OWN}")
    written = record.with_job(stage, begun, job)
    return written, written.of_job() or job


def _by_its_mark(stage: StageDir, begun: Record, error: Unreachable, *, asked: int | None) -> Job:
    """The job that sbatch was not told about, where the controller took it after all; else
    EnvironmentProblem, or Interrupted where that was `asked`. The record stays: the same command
    looks again before it submits."""
    found = None
    with suppress(Unreachable):
        for _ in range(_LOOKS):
            found = found or controller.find(begun.mark, clusters=begun.clusters)
            time.sleep(0.0 if found else SOON_S)
    if found is None:
        kind = Interrupted if asked == signal.SIGINT else EnvironmentProblem
        raise kind(
            f"{stage.name}: the cluster did not say whether it took the job: {error}",
            where=str(record.path_of(stage)),
            hint="scontrol ping; then the same command, which follows the job or submits it",
        )
    return found


def _follow(
    job: Job,
    plan: LaunchPlan,
    settings: Launch,
    stop: Stop,
    *,
    on_poll: Callable[[], None],
    say: Callable[[str], None],
) -> State | None:
    """Wait for the job's end; None where the cluster forgot it."""
    teller = _Teller(plan, job, stop, say)
    manifest = Run(plan.run).stage(plan.stage).manifest_path
    seen = _stamp(manifest)
    due = 0.0
    hurry_until = 0.0
    while True:
        time.sleep(_TICK_S)
        on_poll()
        if stop.first is not None:
            pass_on(job, plan, stop, waits=teller.waits, say=say)
            hurry_until = time.monotonic() + SLACK_S
        if (now := _stamp(manifest)) != seen:
            # The stage begins or ends: the queue is asked at once, and not after its usual time.
            seen, due, hurry_until = now, 0.0, time.monotonic() + SLACK_S
        if time.monotonic() < due:
            continue
        state = teller.look()
        if (state is not None and state.ended) or teller.forgotten:
            return state
        if stop.heard_at is not None and state is not None and state.name in controller.WAITING:
            # It was put back into the queue before it heard of the stop.
            controller.cancel(job)
        hurry = time.monotonic() < hurry_until
        due = time.monotonic() + (
            min(SOON_S, settings.slurm.poll_s) if hurry else settings.slurm.poll_s
        )


class _Teller:
    """Looks at a job and says what is new about it."""

    def __init__(self, plan: LaunchPlan, job: Job, stop: Stop, say: Callable[[str], None]) -> None:
        self._stage = plan.stage
        self._job = job
        self._stop = stop
        self._say = say
        self._told = ""
        self._restarts: int | None = None
        self.forgotten = False
        self.waits = True

    def look(self) -> State | None:
        """The job's state; None where nobody answered, or, `forgotten`, where nobody knows it."""
        try:
            state = controller.look(self._job)
        except Unreachable as error:
            if not self._stop.is_new():  # else it had no time to answer
                self._tell(
                    f"the cluster does not answer ({error}); Slurm job {self._job.number} "
                    "goes on without it"
                )
            return None
        if state is None:
            self.forgotten = True
            return None
        if self._restarts is not None and state.restarts > self._restarts:
            self._say(
                f"{self._stage:<6} Slurm job {self._job.number} is put back into the queue "
                f"(restart {state.restarts})"
            )
        self._restarts = state.restarts
        self.waits = state.name in controller.WAITING
        if (self.waits and state.reason not in ("", "None")) or state.name == "RUNNING":
            self._tell(f"Slurm job {self._job.number} is {state.in_words()}")
        return state

    def _tell(self, text: str) -> None:
        if text != self._told:
            self._told = text
            self._say(f"{self._stage:<6} {text}")


def _stamp(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
