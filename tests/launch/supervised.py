"""A supervisor in a process of its own, to interrupt or kill, and what is left of it."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from zephyrctl.runs.store import Run

REPOSITORY = Path(__file__).parents[2]


def supervise(run: Run, stage: str, work: str, *, grace_s: float = 10.0) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "tests.launch.supervise", str(run.root), stage, str(grace_s)],
        env={**os.environ, "ZEPHYRCTL_TEST_WORK": work},
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(condition: Callable[[], bool], *, seconds: float = 40.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def at_work(run: Run) -> list[int]:
    """Living processes whose command line or log names this run, zombies left out."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if str(run.root).encode() in command and state != "Z":
            found.append(int(entry.name))
    return found


def end_of(child: "subprocess.Popen[str]") -> tuple[int, list[str]]:
    output, _ = child.communicate(timeout=40)
    return child.returncode, output.splitlines()


def ready_ranks(run: Run) -> dict[int, int]:
    """The process of each of two ranks, when both are at work."""
    folder = run.stage("sft").path
    wait_for(lambda: len(list(folder.glob("ready-*"))) == 2)
    names = [path.name.split("-") for path in folder.glob("ready-*")]
    return {int(rank): int(pid) for _, rank, pid in names}


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
