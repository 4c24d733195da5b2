"""What does the cluster say about a job, and how is it told to end one?"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from zephyrctl.errors import EnvironmentProblem, UsageError
from zephyrctl.launch.slurm.commands import NO_ANSWER, PATIENCE_S, run, said
from zephyrctl.terminal import safe

ENDED = frozenset(
    {
        "COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "DEADLINE", "NODE_FAIL", "BOOT_FAIL",
        "PREEMPTED", "OUT_OF_MEMORY", "REVOKED",
    }
)  # fmt: skip
"""States that a job does not leave again by itself."""
WAITING = frozenset({"PENDING", "CONFIGURING", "REQUEUE_HOLD", "REQUEUED", "SPECIAL_EXIT"})
_UNHEARD = (
    NO_ANSWER, "Unable to contact slurm controller", "Socket timed out", "Message send failure",
    "Message receive failure", "Zero Bytes were transmitted",
)  # fmt: skip
"""What sbatch says where the controller may have taken the job all the same."""


@dataclass(frozen=True)
class Job:
    """What identifies a job; `cluster` only where several are served."""

    number: str
    cluster: str | None = None
    name: str | None = field(default=None, compare=False)
    """What it was called, and …"""
    mark: str | None = field(default=None, compare=False)
    """… its comment: after a controller began to count anew, a number is another job's."""

    @property
    def where(self) -> list[str]:
        return [f"--clusters={self.cluster}"] if self.cluster else []

    @property
    def scancel(self) -> str:
        """The command that ends it, to be pasted."""
        return shlex.join(["scancel", *self.where, self.number])


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
    """Submit a job; UsageError with sbatch's own words where it refuses, Unreachable where nobody
    said whether the job was taken."""
    done = run(argv, env=env)
    if done.returncode != 0:
        if any(words in done.stderr for words in _UNHEARD):
            raise Unreachable(said(done))
        raise UsageError(
            f"sbatch refused the job: {said(done)}",
            where="launch.slurm",
            hint="sinfo; sacctmgr show assoc user=$USER   (partitions, accounts)",
        )
    number, _, cluster = (done.stdout.strip().splitlines() or [""])[-1].partition(";")
    if not number.isdecimal():  # after --help, --version or the like
        raise UsageError(
            "sbatch submitted no job", where="launch.slurm.options", hint="remove the last of them"
        )
    return Job(number, cluster or None)


def look(job: Job) -> State | None:
    """The state of a job, or None where the cluster does not know it any more.

    Unreachable where nobody answers.
    """
    done = run(["scontrol", *job.where, "show", "job", "--oneliner", job.number])
    if done.returncode == 0 and "JobState=" in done.stdout:
        return None if _is_of_another(job, done.stdout) else parse(done.stdout)
    gone = ("Invalid job id specified", f"Job {job.number} not found")
    if any(words in done.stdout + done.stderr for words in gone):
        return _from_accounting(job)
    raise Unreachable(said(done))


def parse(shown: str) -> State:
    """The state in one line of `scontrol show job --oneliner`."""
    words = _words(shown)
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


def find(mark: str, *, clusters: str | None = None) -> Job | None:
    """The job that was submitted with this mark to one of these clusters (with commas; None is the
    own one), where it still stands in the queue."""
    where = [f"--clusters={clusters}"] if clusters else []
    done = run(["squeue", *where, f"--user={os.getuid()}", "--format=%A|%k"])
    if done.returncode != 0:
        raise Unreachable(said(done))
    cluster = None
    for line in done.stdout.splitlines():
        if line.startswith("CLUSTER: "):  # before the jobs of each
            cluster = line.removeprefix("CLUSTER: ").strip()
        elif line.endswith(mark):
            return Job(line.partition("|")[0].strip(), cluster)
    return None


def let_it_end(job: Job) -> bool:
    """Take back the permission to put the job into the queue again; False where nobody heard it."""
    return _is_heard(["scontrol", *job.where, "update", f"JobId={job.number}", "Requeue=0"])


def ask_to_stop(job: Job) -> bool:
    """Remove a waiting job; SIGTERM to every process of a running one, so that it saves. False
    where nobody heard it."""
    removed = _is_heard(["scancel", *job.where, "--state=PENDING", job.number])
    signalled = ["scancel", *job.where, "--signal=TERM", "--state=RUNNING", job.number]
    return removed and _is_heard(signalled)


def cancel(job: Job) -> bool:
    """End a job: SIGTERM, and SIGKILL when the cluster's patience is over. False where nobody heard
    it."""
    return _is_heard(["scancel", *job.where, job.number])


def kill(job: Job, *, patience_s: float = PATIENCE_S) -> bool:
    """End a job at once: SIGKILL to every process, and then what is left of it. False where nobody
    heard it."""
    words = ["scancel", *job.where, "--signal=KILL", "--full", job.number]
    return _is_heard(words, patience_s=patience_s) and cancel(job)


def keeps_environments() -> bool:
    """Whether the cluster's accounting stores the environment of jobs."""
    shown = run(["scontrol", "show", "config"]).stdout
    lines = [line for line in shown.splitlines() if line.startswith("AccountingStoreFlags")]
    return any("job_env" in line for line in lines)


def require() -> None:
    """EnvironmentProblem where Slurm's commands are not on this machine."""
    missing = [
        name for name in ("sbatch", "scontrol", "scancel", "squeue") if shutil.which(name) is None
    ]
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
    done = run(["sacct", *job.where, f"--jobs={job.number}", *words])
    if done.returncode != 0 or not done.stdout.strip():
        return None
    state, _, codes = done.stdout.strip().splitlines()[-1].partition("|")
    code, _, number = codes.partition(":")
    # "CANCELLED by 1000"
    return State(state.split()[0].rstrip("+"), "", int(code or 0), int(number or 0))


def _is_heard(argv: Sequence[str], *, patience_s: float = PATIENCE_S) -> bool:
    """Whether the controller answered a command, be it that the job has ended already."""
    done = run(argv, patience_s=patience_s)
    return done.returncode == 0 or not any(words in done.stderr for words in _UNHEARD)


def _words(shown: str) -> dict[str, str]:
    """The fields of a job. The first of a name counts: folders and comments, which may hold
    anything, come after those that are asked for here."""
    found: dict[str, str] = {}
    for word in shown.split():
        name, equals, value = word.partition("=")
        if equals:
            found.setdefault(name, value)
    return found


def _is_of_another(job: Job, shown: str) -> bool:
    """Whether a number now belongs to a job that neither bears the name nor the mark of ours."""
    words = _words(shown)
    return (
        job.name is not None
        and words.get("JobName") != job.name
        and words.get("Comment") != job.mark
    )
