"""How are a stage's processes started here, stopped together, and asked why they failed?"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from zephyrctl.config.schema.launch import Launch
from zephyrctl.errors import (
    EnvironmentProblem,
    Interrupted,
    StoppedEarly,
    Terminated,
    ZephyrctlError,
)
from zephyrctl.launch.failures import first_failure
from zephyrctl.launch.neighbours import did_not_meet
from zephyrctl.launch.plan import TRAINING, LaunchPlan, inherited
from zephyrctl.launch.stopping import Request, taking
from zephyrctl.launch.torchrun import elastic_name
from zephyrctl.launch.watchdog import Hang, Watchdog, remove_empty
from zephyrctl.runs import heartbeat, signals
from zephyrctl.runs.atomic import disk_full_is_an_error
from zephyrctl.runs.processes import adopt_orphans, die_with_parent
from zephyrctl.runs.store import Run, StageDir

_POLL_S = 0.1
_DYING_S = 60.0
"""What a killed process gets to end; one with much memory takes seconds."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
_MARK = "ZEPHYRCTL_LAUNCH"
_MAY_PASS = ("internal", "job", "neighbour", "hang", "memory")
"""Kinds of failures after which another attempt may follow, but none where a stop was asked for."""


@dataclass
class _Stop(Request):
    """A request to stop, and whether it was passed on."""

    forwarded: bool = False


def start(
    plan: LaunchPlan,
    settings: Launch,
    *,
    on_poll: Callable[[], None] = lambda: None,
    on_stop: Callable[[str], None] = lambda text: None,
) -> None:
    """Run the planned processes to their end; raise the error of the first rank that failed.

    `on_poll` is called about ten times a second, `on_stop` with a sentence when a request to stop
    is passed on. Ctrl-C raises Interrupted; SIGTERM raises StoppedEarly where the same command can
    go on, else Terminated.
    """
    del settings  # the plan holds what of them matters here
    stage = Run(plan.run).stage(plan.stage)
    logs = _prepare(plan, stage)
    mark = secrets.token_hex(8)
    adopt_orphans()
    stop = _Stop()
    watchdog = Watchdog(
        stage, hang_after_s=plan.hang_after_s, is_ours=partial(_has_mark, mark=mark)
    )
    failure: ZephyrctlError | None = None
    with taking(stop, _taken()):
        signals.raise_if_stopping()  # asked for since the last look, before these handlers
        child = _spawn(plan, mark=mark)
        try:
            hang = _watch(child, plan, stop, watchdog, on_poll=on_poll, on_stop=on_stop)
            if hang is not None:
                failure = watchdog.error(hang)
        finally:
            _end_all(child, mark=mark)
            shutil.rmtree(plan.log_dir / elastic_name(plan.node), ignore_errors=True)
            if plan.nodes == 1:  # other machines may still need theirs
                remove_empty(stage)
    on_poll()
    code = child.returncode
    if failure is None and code:
        failure = _why(plan, stage, code, logs=logs)
    if stop.first is not None:
        raise _stopped(stop.first, stage, failure, finished=code == 0)
    if failure is not None:
        raise failure


def _prepare(plan: LaunchPlan, stage: StageDir) -> dict[str, int]:
    """Clear what an earlier attempt left of errors and signs of life; returns the size of each log
    as it stands."""
    with disk_full_is_an_error(plan.log_dir):
        plan.log_dir.mkdir(parents=True, exist_ok=True)
    for old in stage.path.glob("error-rank*.json"):
        old.unlink(missing_ok=True)
    heartbeat.clear(stage.path)
    return {path.name: path.stat().st_size for path in plan.log_dir.glob("*.log")}


def _spawn(plan: LaunchPlan, *, mark: str) -> subprocess.Popen[bytes]:
    env = {
        **inherited(os.environ),
        **plan.env,
        _MARK: mark,
        "ZEPHYRCTL_SUPERVISOR_PID": str(os.getpid()),
    }
    with plan.launcher_log.open("ab") as log:
        return subprocess.Popen(
            plan.argv,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Its own session: a Ctrl-C at the terminal reaches this process only, which passes
            # it on once and in order.
            start_new_session=True,
            preexec_fn=die_with_parent,
        )


def _watch(
    child: subprocess.Popen[bytes],
    plan: LaunchPlan,
    stop: _Stop,
    watchdog: Watchdog,
    *,
    on_poll: Callable[[], None],
    on_stop: Callable[[str], None],
) -> Hang | None:
    """Wait for the end; pass a request to stop on once, then give up after the grace. Returns the
    hang of a training that nobody asked to stop."""
    while True:
        try:
            child.wait(timeout=_POLL_S)
        except subprocess.TimeoutExpired:
            pass
        else:
            return None
        on_poll()
        if stop.first is not None and not stop.forwarded:
            stop.forwarded = True
            child.send_signal(signal.SIGTERM)
            on_stop(
                f"stopping {plan.stage}: up to {plan.grace_s:.0f} s to save"
                + (" (Ctrl-C again to kill)" if stop.first == signal.SIGINT else "")
            )
        if stop.again or (stop.forwarded and time.monotonic() - stop.at > plan.grace_s):
            return None
        if plan.stage in TRAINING and not stop.forwarded and (hang := watchdog.look()):
            return hang


def _why(
    plan: LaunchPlan, stage: StageDir, code: int, *, logs: Mapping[str, int]
) -> ZephyrctlError:
    """The error of the rank that failed first, or of machines that did not meet."""
    log = plan.launcher_log.name
    elastic = "torch.distributed.run" in plan.argv
    found = first_failure(stage, code, logs=logs, launcher_log=log if elastic else None)
    return did_not_meet(stage, plan, found, start=logs.get(log, 0)) or found


def _end_all(child: subprocess.Popen[bytes], *, mark: str) -> None:
    """Kill what is left of the tree: the child's group, then orphans that came to us."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
        try:
            child.wait(timeout=_DYING_S)
        except subprocess.TimeoutExpired:
            raise _undead(child.pid) from None
    deadline = time.monotonic() + 5.0
    while (left := _marked_children(mark)) and time.monotonic() < deadline:
        for pid in left:
            _kill_and_reap(pid)


def _undead(pid: int) -> EnvironmentProblem:
    """For a process in the kernel's hands, which not even SIGKILL ends before they let it go."""
    return EnvironmentProblem(
        f"process {pid} was killed and does not end: it waits for a disk or a GPU that does not "
        "answer",
        hint=f"ps -o pid,stat,wchan:30,args --pid {pid}; dmesg | tail",
    )


def _marked_children(mark: str) -> list[int]:
    """Processes of this launch whose own parent died, by the mark in their environment."""
    listing = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    try:
        pids = [int(pid) for pid in listing.read_text(encoding="ascii").split()]
    except OSError:
        return []
    return [pid for pid in pids if _has_mark(pid, mark)]


def _has_mark(pid: int, mark: str) -> bool:
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return f"{_MARK}={mark}".encode() in environ.split(b"\0")


def _kill_and_reap(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        return


def _taken() -> list[signal.Signals]:
    """The signals that are passed on. A closed terminal stays ignored where it is (nohup)."""
    ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else set()
    return [number for number in _SIGNALS if number not in ignored]


def _stopped(
    number: int, stage: StageDir, failure: ZephyrctlError | None, *, finished: bool
) -> ZephyrctlError:
    """The error for a stop on request; a failure that would come again goes first."""
    on_request = isinstance(failure, StoppedEarly | Interrupted | Terminated)
    if failure is not None and not on_request and failure.kind not in _MAY_PASS:
        return failure
    stands = "the stage is finished" if finished else stage.resumable_work()
    hint = "the same command goes on from there" if stands else None
    if number == signal.SIGINT:
        tail = stands or "nothing of it was saved"
        return Interrupted(f"{stage.name} stopped by Ctrl-C; {tail}", hint=hint)
    name = signal.Signals(number).name
    if isinstance(failure, StoppedEarly):
        return failure
    if stands:
        return StoppedEarly(f"{stage.name} stopped by {name}; {stands}", hint=hint)
    return Terminated(f"{stage.name} stopped by {name} before anything could be saved")
