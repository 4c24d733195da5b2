"""With which error, if any, did a job end?

What the stage's processes left on the disk says most. Where they left nothing, because the cluster
ended them or they never began, the job's own log and the state that the cluster gives it must do.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping

from zephyrctl.errors import (
    EnvironmentProblem,
    Interrupted,
    JobFailed,
    StoppedEarly,
    Terminated,
    ZephyrctlError,
    quoted,
)
from zephyrctl.launch.failures import first_failure, tail
from zephyrctl.launch.node import error_left
from zephyrctl.launch.slurm.controller import State
from zephyrctl.launch.slurm.submission import LOG
from zephyrctl.runs.store import StageDir
from zephyrctl.terminal import safe

_ON_REQUEST = (StoppedEarly, Interrupted, Terminated)


def failure(
    stage: StageDir, job: str, state: State | None, *, log_starts: int
) -> ZephyrctlError | None:
    """The error that ended a job; None where it ended well, as far as the cluster can tell.

    `log_starts` is the size that the job's log had before it. A `state` of None is a job that the
    cluster does not know any more: what stands on the disk then decides.
    """
    left = _left(stage)
    if state is None:
        return None if stage.is_finished() else (left or _forgotten(stage, job))
    if state.name == "COMPLETED":
        return None
    answer = _BY_STATE.get(state.name)
    # A process that was asked to stop does not know why; the cluster does.
    if left is not None and (answer is None or not isinstance(left, _ON_REQUEST)):
        return left
    if answer is not None:
        return answer(stage, job)
    return _failed(stage, job, state, log_starts=log_starts)


def stopped(
    number: int, stage: StageDir, failed: ZephyrctlError | None, *, finished: bool
) -> ZephyrctlError:
    """The error for a stop that was asked of this process by the signal `number`; a failure with a
    reason of its own goes first."""
    if failed is not None and not isinstance(failed, _ON_REQUEST) and failed.kind != "job":
        return failed
    stands = "the stage is finished" if finished else stage.resumable_work()
    hint = "the same command goes on from there" if stands else None
    if number == signal.SIGINT:
        text = f"{stage.name} stopped by Ctrl-C; {stands or 'nothing of it was saved'}"
        return Interrupted(text, hint=hint)
    name = signal.Signals(number).name
    if stands:
        return StoppedEarly(f"{stage.name} stopped by {name}; {stands}", hint=hint)
    return Terminated(f"{stage.name} stopped by {name} before anything could be saved")


def _left(stage: StageDir) -> ZephyrctlError | None:
    """What the machines concluded, or what the ranks left where no machine came to that."""
    of_machine = error_left(stage)
    own_reason = of_machine is not None and of_machine.kind not in ("job", "internal")
    if own_reason or not any(stage.path.glob("error-rank*.json")):
        return of_machine
    return first_failure(stage, 1, logs={})


def _timeout(stage: StageDir, job: str) -> ZephyrctlError:
    more = "--set launch.slurm.time_minutes=MORE"
    return _early(stage, f"Slurm job {job} reached its time limit", alone=more)


def _preempted(stage: StageDir, job: str) -> ZephyrctlError:
    again = "the same command submits it again"
    return _early(stage, f"Slurm job {job} had to make room for another one", alone=again)


def _cancelled(stage: StageDir, job: str) -> ZephyrctlError:
    return _early(stage, f"Slurm job {job} was cancelled", alone="the same command submits it anew")


def _early(stage: StageDir, text: str, *, alone: str) -> ZephyrctlError:
    """For a job that was ended from outside: StoppedEarly where something stands to go on from."""
    stands = stage.resumable_work()
    if stands:
        hint = f"the same command goes on from there; {alone}"
        return StoppedEarly(f"{stage.name}: {text}; {stands}", where=_log(stage), hint=hint)
    return Terminated(f"{stage.name}: {text}, and nothing was saved", where=_log(stage), hint=alone)


def _out_of_memory(stage: StageDir, job: str) -> ZephyrctlError:
    return EnvironmentProblem(
        f"{stage.name}: Slurm job {job} used more memory than the nodes gave it",
        where=_log(stage),
        hint="--set launch.slurm.memory_gb=MORE",
    )


def _node_failed(stage: StageDir, job: str) -> ZephyrctlError:
    return JobFailed(
        f"{stage.name}: a node of Slurm job {job} failed",
        where=_log(stage),
        hint="the same command submits it again; sinfo --list-reasons",
    )


def _forgotten(stage: StageDir, job: str) -> ZephyrctlError:
    return _early(
        stage,
        f"the cluster no longer knows Slurm job {job}, and the stage is not finished",
        alone="the same command submits it again",
    )


def _failed(stage: StageDir, job: str, state: State, *, log_starts: int) -> ZephyrctlError:
    """For a job whose script or processes failed without a word on the disk."""
    path = stage.logs / LOG
    lines = [safe(line) for line in tail(path, start=log_starts)]
    said = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    hints = [line.removeprefix("hint: ") for line in lines if line.startswith("hint: ")]
    if said and state.exit_code == EnvironmentProblem.exit_code:
        hint = hints[0] if hints else None
        return EnvironmentProblem(
            f"{stage.name}: Slurm job {job}: {said[0]}", where=str(path), hint=hint
        )
    if not lines:
        return EnvironmentProblem(
            f"{stage.name}: Slurm job {job} ended ({_end(state)}) before it could write to its log",
            where=str(path),
            hint="is the run's folder on a disk that the nodes share? --set output_root=FOLDER",
        )
    text = f"{stage.name}: Slurm job {job} failed ({_end(state)})"
    return JobFailed(
        "\n".join([text, *(f"  | {line}" for line in lines)]),
        where=str(path),
        hint=f"zephyrctl runs logs {quoted(stage.path.parent)} --stage {stage.name}",
    )


def _end(state: State) -> str:
    if state.signal:
        return f"{state.name}, signal {state.signal}"
    return f"{state.name}, exit code {state.exit_code}"


def _log(stage: StageDir) -> str:
    return str(stage.logs / LOG)


_BY_STATE: Mapping[str, Callable[[StageDir, str], ZephyrctlError]] = {
    "TIMEOUT": _timeout,
    "DEADLINE": _timeout,
    "PREEMPTED": _preempted,
    "CANCELLED": _cancelled,
    "REVOKED": _cancelled,
    "OUT_OF_MEMORY": _out_of_memory,
    "NODE_FAIL": _node_failed,
    "BOOT_FAIL": _node_failed,
}
