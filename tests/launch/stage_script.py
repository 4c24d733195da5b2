"""A worker with a small stage of its own; what it does is asked for by ZEPHYRCTL_TEST_WORK."""

import os
import signal
import sys
import time
from datetime import timedelta

import zephyrctl.catalogue
from zephyrctl import worker
from zephyrctl.config.schema import Recipe
from zephyrctl.errors import DataError, DiskFull, StoppedEarly
from zephyrctl.registry import Entry, Registry
from zephyrctl.runs import signals
from zephyrctl.runs.manifest import Result
from zephyrctl.runs.store import Run, StageDir
from zephyrctl.stages import inputs

WORK = os.environ.get("ZEPHYRCTL_TEST_WORK", "finish")


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
    if WORK == "deaf":
        _ready(folder)
        time.sleep(60)
    if WORK == "fork":
        _fork_a_sleeper(folder)
        _ready(folder)
        time.sleep(60)
    while WORK in ("wait", "checkpoint"):
        _ready(folder)
        time.sleep(0.02)
        if WORK == "checkpoint" and signals.stop_signal() is not None:
            (folder.checkpoints / "checkpoint-5").mkdir(parents=True)
            raise StoppedEarly("checkpoint-5 stands")
        signals.raise_if_stopping()
    return _result(folder, total=1.0)


def together(recipe: Recipe, run: Run) -> Result:
    """The sft stage: processes that add their ranks over gloo."""
    import torch
    import torch.distributed as dist

    folder = run.stage("sft")
    dist.init_process_group("gloo", timeout=timedelta(seconds=30))
    total = torch.ones(1) * (dist.get_rank() + 1)
    dist.all_reduce(total)
    _say(f"rank {dist.get_rank()} of {dist.get_world_size()}")
    if WORK == "rank 1 refuses" and dist.get_rank() == 1:
        raise DiskFull("no space for the checkpoint")
    if WORK == "rank 1 is killed" and dist.get_rank() == 1:
        _say("last words of rank 1")
        os.kill(os.getpid(), signal.SIGKILL)
    if WORK == "wait":
        _ready(folder, name=f"ready-{dist.get_rank()}-{os.getpid()}")
        time.sleep(60)
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
