"""A worker with a small stage of its own; what it does is asked for by ZEPHYRCTL_TEST_WORK."""

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta

import zephyrctl.catalogue
from zephyrctl import worker
from zephyrctl.config.schema import Recipe
from zephyrctl.errors import (
    DataError,
    DiskFull,
    JobHung,
    OutOfMemory,
    StoppedEarly,
    TrainingDiverged,
)
from zephyrctl.registry import Entry, Registry
from zephyrctl.runs import heartbeat, signals
from zephyrctl.runs.manifest import Result
from zephyrctl.runs.store import Run, StageDir
from zephyrctl.stages import inputs

WORK = os.environ.get("ZEPHYRCTL_TEST_WORK", "finish")
ENDS = {"out of memory": OutOfMemory, "hung": JobHung, "diverged": TrainingDiverged}
"""How a rank ends that was asked to stop and cannot."""


def alone(recipe: Recipe, run: Run) -> Result:
    """The data stage, one process, no torch."""
    folder = run.stage("data")
    _say(f"working on {recipe.name}")
    if WORK == "refuse":
        raise DataError("row 3 is broken", where="rows.jsonl:3", hint="fix the row")
    if WORK == "crash":
        raise RuntimeError("boom \x1b]52;c;evil\x07")
    if WORK == "full":
        try:
            raise OSError(28, "No space left on device")
        except OSError as error:
            raise RuntimeError("cannot serialize") from error
    if WORK == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if WORK == "spawn":
        # A program of its own: no hook of ours runs in it.
        subprocess.Popen(["sh", "-c", "sleep 60; exit 0", str(run.root)])
        os.kill(os.getpid(), signal.SIGKILL)
    if WORK == "deaf":
        _ready(folder)
        time.sleep(60)
    if WORK == "fork":
        _fork_a_sleeper(folder)
        _ready(folder)
        time.sleep(60)
    while WORK in ("wait", "checkpoint", *ENDS):
        _ready(folder)
        time.sleep(0.02)
        if WORK in ENDS and signals.stop_signal() is not None:
            (folder.checkpoints / "checkpoint-5").mkdir(parents=True)
            raise ENDS[WORK]("the end of a rank that was asked to stop")
        if WORK == "checkpoint" and signals.stop_signal() is not None:
            (folder.checkpoints / "checkpoint-5").mkdir(parents=True)
            raise StoppedEarly("checkpoint-5 stands")
        signals.raise_if_stopping()
    return _result(folder, total=1.0)


def together(recipe: Recipe, run: Run) -> Result:
    """The sft stage."""
    if WORK in ("vote", "hang"):
        return _steps(run.stage("sft"))
    if WORK == "rank 1 refuses":
        _refuse(run.stage("sft"))
    if WORK == "rank 1 is killed":
        _say(f"last words of rank {os.environ['RANK']}")
        if os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        while True:  # torchrun asks this one to stop
            time.sleep(0.02)
            signals.raise_if_stopping()
    return _add(run)


def _steps(folder: StageDir) -> Result:
    """Steps without torch: what one rank is asked, all do, as by a vote; rank 1 may hang."""
    rank = int(os.environ["RANK"])
    asked = folder.path / "asked"
    for step in range(1, 3000):
        time.sleep(0.02)
        heartbeat.beat("steps")
        if step == 3:
            _ready(folder, name=f"ready-{rank}-{os.getpid()}")
            if WORK == "hang":
                _sleep() if rank == 1 else _wait_in_vain()
        if signals.stop_signal() is not None:
            asked.touch()
        if asked.exists():
            (folder.checkpoints / "checkpoint-5").mkdir(parents=True, exist_ok=True)
            raise StoppedEarly("checkpoint-5 stands")
    raise AssertionError("nobody was asked to stop")


def _refuse(folder: StageDir) -> None:
    """Rank 1 says why; rank 0 then only knows that its neighbour is gone."""
    if os.environ["RANK"] == "1":
        raise DiskFull("no space for the checkpoint")
    while not worker.error_path(folder, 1).exists():
        time.sleep(0.02)
    raise RuntimeError("Connection closed by peer")


def _sleep() -> None:
    time.sleep(60)


def _wait_in_vain() -> None:
    time.sleep(60)


def _add(run: Run) -> Result:
    """Processes add their ranks over gloo."""
    import torch
    import torch.distributed as dist

    folder = run.stage("sft")
    dist.init_process_group("gloo", timeout=timedelta(seconds=30))
    total = torch.ones(1) * (dist.get_rank() + 1)
    dist.all_reduce(total)
    _say(f"rank {dist.get_rank()} of {dist.get_world_size()}")
    dist.all_reduce(total)
    return _result(folder, total=total.item())


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _result(folder: StageDir, *, total: float) -> Result:
    made = folder.path / "made.txt"
    made.write_text(str(total))
    return Result({"total": total}, [made])


def _ready(folder: StageDir, *, name: str = "ready") -> None:
    (folder.path / name).touch()


def _fork_a_sleeper(folder: StageDir) -> None:
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(60)
        os._exit(0)
    (folder.path / f"sleeper-{pid}").touch()


if __name__ == "__main__":
    zephyrctl.catalogue.STAGES = Registry(
        "stage", [Entry("data", "", "__main__:alone"), Entry("sft", "", "__main__:together")]
    )
    inputs.inputs = lambda stage, recipe, run: {"stage": stage}
    code = worker.main()
    if code:
        os._exit(code)
    sys.exit(0)
