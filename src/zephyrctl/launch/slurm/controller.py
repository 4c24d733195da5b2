"""What does the cluster say about a job, and how is it told to end one?"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from zephyrctl.errors import EnvironmentProblem, UsageError
from zephyrctl.terminal import safe

ENDED = frozenset(
    {
        "COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "DEADLINE", "NODE_FAIL", "BOOT_FAIL",
        "PREEMPTED", "OUT_OF_MEMORY", "REVOKED",
    }
)  # fmt: skip
"""States that a job does not leave again by itself."""
WAITING = frozenset({"PENDING", "CONFIGURING", "REQUEUE_HOLD", "REQUEUED", "SPECIAL_EXIT"})
_ANSWER_S = 60.0
_SHOWN_LINES = 4
_IS_GONE = ("Invalid job id", "Invalid user id", "not found")


@dataclass(frozen=True)
class Job:
    """What identifies a job; `cluster` only where several are served."""

    number: str
    cluster: str | None = None

    @property
    def where(self) -> list[str]:
        return [f"--clusters={self.cluster}"] if self.cluster else []


@dataclass(frozen=True)
class State:
    """One look at a job."""

    name: str
    """Slurm's word, such as `PENDING`."""
    reason: str = ""
    """Why it waits, such as `Resources`."""
    exit_code: int = 0
    signal: int = 0
    restarts: int = 0
    nodes: str = ""

    @property
    def ended(self) -> bool:
        return self.name in ENDED

    def in_words(self) -> str:
        """`pending (Resources)`, `running on n[1-2]`."""
        if self.name in WAITING:
            why = f" ({self.reason})" if self.reason not in ("", "None") else ""
            return f"{self.name.lower()}{why}"
        return f"{self.name.lower()}{f' on {self.nodes}' if self.nodes else ''}"


class Unreachable(Exception):
    """The controller gave no answer; jobs go on without it."""


def submit(argv: Sequence[str], *, env: Mapping[str, str]) -> Job:
    """Submit a job; UsageError with sbatch's own words where it refuses."""
    done = _run(argv, env=env)
    if done.returncode != 0:
        raise UsageError(
            f"sbatch refused the job: {_said(done)}",
            where="launch.slurm",
            hint="sinfo; sacctmgr show assoc user=$USER   (partitions, accounts)",
        )
    number, _, cluster = done.stdout.strip().splitlines()[-1].partition(";")
    return Job(number, cluster or None)


def look(job: Job) -> State | None:
    """The state of a job, or None where the cluster does not know it any more.

    Unreachable where nobody answers.
    """
    done = _run(["scontrol", *job.where, "show", "job", "--oneliner", job.number])
    if done.returncode == 0 and "JobState=" in done.stdout:
        return parse(done.stdout)
    if any(words in done.stdout + done.stderr for words in _IS_GONE):
        return _from_accounting(job)
    raise Unreachable(_said(done))


def parse(shown: str) -> State:
    """The state in one line of `scontrol show job --oneliner`."""
    words = dict(word.split("=", 1) for word in shown.split() if "=" in word)
    code, _, number = words.get("ExitCode", "0:0").partition(":")
    nodes = words.get("NodeList", "")
    return State(
        name=words["JobState"],
        reason=safe(words.get("Reason", "")),
        exit_code=int(code),
        signal=int(number or 0),
        restarts=int(words.get("Restarts", 0)),
        nodes="" if nodes == "(null)" else nodes,
    )


def find(mark: str) -> Job | None:
    """The job that was submitted with this mark, where it still stands in the queue."""
    done = _run(["squeue", "--noheader", f"--user={os.getuid()}", "--format=%A|%k"])
    if done.returncode != 0:
        raise Unreachable(_said(done))
    found = [line.partition("|")[0] for line in done.stdout.splitlines() if line.endswith(mark)]
    return Job(found[0].strip()) if found else None


def let_it_end(job: Job) -> None:
    """Take back the permission to put the job into the queue again."""
    _run(["scontrol", *job.where, "update", f"JobId={job.number}", "Requeue=0"])


def ask_to_stop(job: Job) -> None:
    """Remove a waiting job; SIGTERM to every process of a running one, so that it saves."""
    _run(["scancel", *job.where, "--state=PENDING", job.number])
    _run(["scancel", *job.where, "--signal=TERM", "--state=RUNNING", job.number])


def cancel(job: Job) -> None:
    """End a job: SIGTERM, and SIGKILL when the cluster's patience is over."""
    _run(["scancel", *job.where, job.number])


def kill(job: Job) -> None:
    """End a job at once: SIGKILL to every process, and then what is left of it."""
    _run(["scancel", *job.where, "--signal=KILL", "--full", job.number])
    cancel(job)


def keeps_environments() -> bool:
    """Whether the cluster's accounting stores the environment of jobs."""
    shown = _run(["scontrol", "show", "config"]).stdout
    lines = [line for line in shown.splitlines() if line.startswith("AccountingStoreFlags")]
    return any("job_env" in line for line in lines)


def require() -> None:
    """EnvironmentProblem where Slurm's commands are not on this machine."""
    missing = [name for name in ("sbatch", "scontrol", "scancel") if shutil.which(name) is None]
    if missing:
        raise EnvironmentProblem(
            f"{missing[0]} is not on this machine",
            where="launch.backend slurm",
            hint="run the command on a login node, or --set launch.backend=local",
        )


def _from_accounting(job: Job) -> State | None:
    """The end of a job that the controller has forgotten, where accounting is kept."""
    if shutil.which("sacct") is None:
        return None
    words = ["--allocations", "--noheader", "--parsable2", "--format=State,ExitCode"]
    done = _run(["sacct", *job.where, f"--jobs={job.number}", *words])
    if done.returncode != 0 or not done.stdout.strip():
        return None
    state, _, codes = done.stdout.strip().splitlines()[-1].partition("|")
    code, _, number = codes.partition(":")
    # "CANCELLED by 1000"
    return State(state.split()[0].rstrip("+"), "", int(code or 0), int(number or 0))


def _run(
    argv: Sequence[str], *, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one of Slurm's commands; one that never answers counts as refused."""
    try:
        return subprocess.run(
            argv,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_ANSWER_S,
            check=False,
            # A Ctrl-C at the terminal is this process's to handle, not sbatch's.
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(argv, 1, "", f"no answer within {_ANSWER_S:.0f} s")


def _said(done: subprocess.CompletedProcess[str]) -> str:
    """The last lines of a command's complaint, without its own name before each."""
    lines = [line.strip() for line in safe(done.stderr or done.stdout).splitlines()]
    kept = [line.removeprefix("sbatch: error: ") for line in lines if line][-_SHOWN_LINES:]
    return "; ".join(kept) or f"exit code {done.returncode}"
