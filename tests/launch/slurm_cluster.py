"""A real Slurm cluster of two nodes on this machine, for the time of a test session.

`cluster()` starts it and ends it. The daemons belong to a keeper (this file run as a program),
which the kernel tells when the test session dies, however it dies; the keeper then kills whatever
carries the cluster's mark, jobs included.
"""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel")
NODES = ("n1", "n2")
READY_S = 60.0
_SEARCH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


@dataclass(frozen=True)
class Cluster:
    """A running cluster; `env` is what a command needs to find it."""

    folder: Path
    env: dict[str, str]

    @property
    def only_on_n1(self) -> Path | None:
        """A folder that node n1 and this process see alike and n2 sees empty; None where this
        machine lets nobody hide one."""
        hidden = self.folder / "only-on-n1"
        return hidden if (self.folder / "hidden").exists() else None

    def __call__(self, *words: str) -> str:
        """What a Slurm command prints."""
        done = subprocess.run(
            words,
            env={**os.environ, **self.env},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def job(self, job: str) -> dict[str, str]:
        """What the controller says of a job."""
        shown = self("scontrol", "show", "job", "--oneliner", job)
        return dict(word.split("=", 1) for word in shown.split() if "=" in word)

    def unanswered(self, folder: Path) -> str:
        """A configuration under `folder` by which no controller answers."""
        text = (self.folder / "slurm.conf").read_text()
        lines = [line for line in text.splitlines() if not line.startswith("SlurmctldPort=")]
        lines += ["SlurmctldPort=1", "MessageTimeout=2"]
        (folder / "slurm.conf").write_text("\n".join(lines) + "\n")
        return str(folder / "slurm.conf")

    def start_again(self, job: str) -> None:
        """Let a job that was put back into the queue start now, and not after about two minutes."""
        deadline = time.monotonic() + READY_S
        while self.job(job)["Reason"] != "BeginTime":
            assert time.monotonic() < deadline, self.job(job)
            time.sleep(0.1)
        # In the same second the nodes would take the job's permission for the one just withdrawn.
        time.sleep(2.0)
        self("scontrol", "update", f"JobId={job}", "StartTime=now")


def why_not() -> str | None:
    """Why no cluster can be started here, or None."""
    if os.geteuid() != 0:
        return "Slurm's daemons need root"
    missing = [name for name in PROGRAMS if shutil.which(name, path=_SEARCH) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


def required() -> None:
    """Skip the test where no cluster can be started, with the reason; in CI that is a failure."""
    reason = why_not()
    if reason is not None and os.environ.get("CI"):
        pytest.fail(f"no Slurm in CI: {reason}; scripts/install_test_systems.sh installs it")
    if reason is not None:
        pytest.skip(f"no Slurm here: {reason}")


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """A cluster whose files are under `folder`; nothing of it is left when the block ends."""
    keeper = subprocess.Popen(
        [sys.executable, __file__, str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "PATH": _SEARCH},
    )
    assert keeper.stdout is not None
    try:
        said = keeper.stdout.readline().strip()
        if said != "ready":
            logs = "\n".join(path.read_text()[-2000:] for path in sorted(folder.glob("*.log")))
            raise RuntimeError(f"the cluster did not start: {said}\n{logs}")
        yield Cluster(folder, {"SLURM_CONF": str(folder / "slurm.conf")})
    finally:
        keeper.terminate()
        keeper.wait(timeout=30)


def left_of(folder: Path) -> list[int]:
    """Living processes that carry the mark of the cluster under `folder`."""
    mark = f"SLURM_CONF={folder / 'slurm.conf'}".encode()
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environ = (entry / "environ").read_bytes().split(b"\0")
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if mark in environ or str(folder / "slurm.conf").encode() in command:
            found.append(int(entry.name))
    return found


def _keep(folder: Path) -> None:
    """Start the daemons, say `ready`, and wait for the end of the session."""
    libc = ctypes.CDLL(None)
    parent = os.getppid()
    signal.signal(signal.SIGTERM, _end)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        _start(folder)
        if os.getppid() == parent:
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            while os.getppid() == parent:
                time.sleep(5)
    except (SystemExit, Exception) as error:  # whatever it is, nothing may stay
        if not isinstance(error, SystemExit):
            sys.stdout.write(f"{error!r}\n".replace("\\n", " "))
            sys.stdout.flush()
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _sweep(folder)


def _end(number: int, frame: object) -> None:
    raise SystemExit(0)


def _start(folder: Path) -> None:
    folder.chmod(0o755)
    _configure(folder)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    conf = str(folder / "slurm.conf")
    _daemon(
        folder, "munged", "--foreground", "--force", "--num-threads=2", f"--key-file={key}",
        f"--socket={folder}/munge.sock", f"--pid-file={folder}/munged.pid",
        f"--seed-file={folder}/munge.seed", f"--log-file={folder}/munged.log",
    )  # fmt: skip
    _wait(lambda: (folder / "munge.sock").exists(), "munged's socket")
    # A relative configuration kills the controller after a minute.
    _daemon(folder, "slurmctld", "-D", "-f", conf)
    _daemon(folder, "slurmd", "-D", "-N", "n1", "-f", conf)
    _daemon(folder, *_hiding(folder), "slurmd", "-D", "-N", "n2", "-f", conf)
    _wait(lambda: _states() == {"idle"}, "two idle nodes")


def _hiding(folder: Path) -> list[str]:
    """Words before a command that let it see another, empty folder at `only-on-n1`."""
    (folder / "only-on-n1").mkdir()
    script = 'mount -t tmpfs none "$0" && exec "$@"'
    words = ["unshare", "--mount", "sh", "-c", script, str(folder / "only-on-n1")]
    allowed = subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0
    if allowed:
        (folder / "hidden").touch()
    return words if allowed else []


def _configure(folder: Path) -> None:
    controller, *nodes = _free_ports(3)
    host = socket.gethostname()
    lines = [
        "ClusterName=zephyrctl-tests",
        f"SlurmctldHost={host}(127.0.0.1)",
        f"SlurmctldPort={controller}",
        "SlurmUser=root",
        f"AuthInfo=socket={folder}/munge.sock",
        "ProctrackType=proctrack/linuxproc",
        "TaskPlugin=task/none",
        "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_Core",
        "JobAcctGatherType=jobacct_gather/none",
        "AccountingStorageType=accounting_storage/none",
        "MpiDefault=none",
        "GresTypes=gpu",
        "PreemptType=preempt/partition_prio",
        "PreemptMode=CANCEL",
        "ReturnToService=2",
        "KillWait=5",
        "SchedulerParameters=sched_min_interval=0,batch_sched_delay=0,bf_interval=1",
        # More cores than this machine has, and GPUs that nobody opens: jobs may ask for them.
        "SlurmdParameters=config_overrides",
        f"StateSaveLocation={folder}/state",
        f"SlurmdSpoolDir={folder}/spool-%n",
        f"SlurmctldPidFile={folder}/slurmctld.pid",
        f"SlurmdPidFile={folder}/slurmd-%n.pid",
        f"SlurmctldLogFile={folder}/slurmctld.log",
        f"SlurmdLogFile={folder}/slurmd-%n.log",
    ]
    lines += [
        f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=8 "
        "RealMemory=4000 Gres=gpu:2"
        for name, port in zip(NODES, nodes, strict=True)
    ]
    lines += [
        "PartitionName=main Nodes=n1,n2 Default=YES MaxTime=60 State=UP PriorityTier=2 "
        "PreemptMode=OFF",
        "PartitionName=closed Nodes=n1 State=DOWN",
        # Its jobs make room for those of main, after a warning.
        "PartitionName=spare Nodes=n1,n2 MaxTime=60 State=UP PriorityTier=1 PreemptMode=CANCEL "
        "GraceTime=3",
    ]
    (folder / "state").mkdir()
    (folder / "gres.conf").write_text("Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n")
    (folder / "cgroup.conf").write_text("CgroupAutomount=no\n")
    (folder / "slurm.conf").write_text("\n".join(lines) + "\n")


def _daemon(folder: Path, *words: str) -> None:
    with (folder / "daemons.log").open("ab") as log:
        subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _states() -> set[str]:
    words = ["sinfo", "--noheader", "--Node", "--partition=main", "--format=%T"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
    return set(done.stdout.split())


def _wait(ready: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + READY_S
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited in vain for {what}")
        time.sleep(0.1)


def _sweep(folder: Path) -> None:
    """Kill what carries the cluster's mark until nothing does, and take leave of the dead."""
    deadline = time.monotonic() + 20
    while (left := left_of(folder)) and time.monotonic() < deadline:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    # The dead are ours to bury: whoever adopts them next may never do it.
    with suppress(ChildProcessError):
        while time.monotonic() < deadline and os.waitpid(-1, os.WNOHANG) is not None:
            time.sleep(0.01)


if __name__ == "__main__":
    _keep(Path(sys.argv[1]))
