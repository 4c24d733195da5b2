"""How is a stage carried out as a job of a Slurm cluster: submitted once, followed, stopped?"""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from zephyrctl.config.schema.launch import Launch
from zephyrctl.errors import EnvironmentProblem
from zephyrctl.launch.plan import LaunchPlan
from zephyrctl.launch.slurm import controller, outcome, record
from zephyrctl.launch.slurm.controller import Job, State, Unreachable
from zephyrctl.launch.slurm.record import Record
from zephyrctl.launch.slurm.submission import LOG, submission
from zephyrctl.launch.stopping import Request, taking
from zephyrctl.runs import signals
from zephyrctl.runs.atomic import disk_full_is_an_error
from zephyrctl.runs.store import Run, StageDir

_TICK_S = 0.2
_SOON_S = 0.5
"""Between two looks while a job is about to end."""
_SLACK_S = 15.0
"""Added to the grace: the cluster takes its time to deliver a signal and to end a job."""
_LOOKS = 4
"""For a job of which sbatch was not told whether it was taken."""
_ON_ITS_OWN = "it goes on if this command is killed"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""SIGHUP is not among them: a lost connection ends this process and leaves the job alone."""


@dataclass
class _Stop(Request):
    """A request to stop, and what was done about it."""

    heard_at: float | None = None
    """When the cluster heard it, by the monotonic clock."""
    killed: bool = False
    """The cluster heard that the job has to end now."""
    told: bool = False
    """It was said to the user."""
    due: float = 0.0
    """When the cluster is spoken to again."""


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
    the job and raises Interrupted; SIGTERM raises StoppedEarly where the same command can go on,
    else Terminated. A kill -9 leaves the job to the cluster.
    """
    controller.require()
    stage = Run(plan.run).stage(plan.stage)
    stop = _Stop()
    with taking(stop, _SIGNALS):
        signals.raise_if_stopping()  # asked for since the last look, before these handlers
        standing = record.read(stage)
        try:
            job = at_work(stage)
        except Unreachable as error:
            raise _silent(stage, error) from None
        if standing is None or job is None:
            standing, job = _submit(plan, settings, stage, say=on_stop)
        else:
            on_stop(f"{plan.stage:<6} follows Slurm job {job.number}; {_ON_ITS_OWN}")
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
        job = controller.find(standing.mark)
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
    plan: LaunchPlan, settings: Launch, stage: StageDir, *, say: Callable[[str], None]
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
        job = _by_its_mark(stage, mark, error)
    except BaseException:
        record.path_of(stage).unlink(missing_ok=True)
        raise
    say(f"{plan.stage:<6} Slurm job {job.number} submitted; {_ON_ITS_OWN}")
    written = record.with_job(stage, begun, job)
    return written, written.of_job() or job


def _by_its_mark(stage: StageDir, mark: str, error: Unreachable) -> Job:
    """The job that sbatch was not told about, where the controller took it after all; else
    EnvironmentProblem. The record stays: the same command looks again before it submits."""
    found = None
    with suppress(Unreachable):
        for _ in range(_LOOKS):
            found = found or controller.find(mark)
            time.sleep(0.0 if found else _SOON_S)
    if found is None:
        raise EnvironmentProblem(
            f"{stage.name}: the cluster did not say whether it took the job: {error}",
            where=str(record.path_of(stage)),
            hint="scontrol ping; then the same command, which follows the job or submits it",
        )
    return found


def _follow(
    job: Job,
    plan: LaunchPlan,
    settings: Launch,
    stop: _Stop,
    *,
    on_poll: Callable[[], None],
    say: Callable[[str], None],
) -> State | None:
    """Wait for the job's end; None where the cluster forgot it."""
    teller = _Teller(plan, job, say)
    manifest = Run(plan.run).stage(plan.stage).manifest_path
    seen = _stamp(manifest)
    due = 0.0
    hurry_until = 0.0
    while True:
        time.sleep(_TICK_S)
        on_poll()
        if stop.first is not None:
            _pass_on(job, plan, stop, waits=teller.waits, say=say)
            hurry_until = time.monotonic() + _SLACK_S
        if (now := _stamp(manifest)) != seen:
            # The stage begins or ends: the queue is asked at once, and not after its usual time.
            seen, due, hurry_until = now, 0.0, time.monotonic() + _SLACK_S
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
            min(_SOON_S, settings.slurm.poll_s) if hurry else settings.slurm.poll_s
        )


class _Teller:
    """Looks at a job and says what is new about it."""

    def __init__(self, plan: LaunchPlan, job: Job, say: Callable[[str], None]) -> None:
        self._stage = plan.stage
        self._job = job
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


def _pass_on(
    job: Job, plan: LaunchPlan, stop: _Stop, *, waits: bool, say: Callable[[str], None]
) -> None:
    """Pass a request to stop on to the job, once; end it where it takes too long or is hurried. A
    cluster that does not answer is asked again."""
    now = time.monotonic()
    if not stop.told:
        stop.told = True
        again = " (Ctrl-C again to kill)" if stop.first == signal.SIGINT else ""
        text = f"stopping Slurm job {job.number}: up to {plan.grace_s:.0f} s to save{again}"
        say(f"taking Slurm job {job.number} out of the queue" if waits else text)
    if stop.heard_at is None and now >= stop.due:
        stop.due = now + _SOON_S
        if controller.let_it_end(job) and controller.ask_to_stop(job):
            stop.heard_at = now
    late = stop.heard_at is not None and now - stop.heard_at > plan.grace_s + _SLACK_S
    if (stop.again or late) and not stop.killed and now >= stop.due:
        stop.due = now + _SOON_S
        stop.killed = controller.kill(job)


def _stamp(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
