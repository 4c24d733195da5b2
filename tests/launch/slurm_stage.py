"""A worker with a small stage of its own, for jobs of the test cluster; ZEPHYRCTL_TEST_WORK names
what it does. It is started where `zephyrctl.launch.node` would be."""

import hashlib
import json
import os
import sys
import time
from collections.abc import Mapping
from datetime import timedelta

import zephyrctl.catalogue
from zephyrctl import worker
from zephyrctl.config.schema import Recipe
from zephyrctl.errors import DataError, StoppedEarly, TrainingDiverged
from zephyrctl.registry import Entry, Registry
from zephyrctl.runs import signals
from zephyrctl.runs.manifest import Result
from zephyrctl.runs.store import Run
from zephyrctl.stages import inputs

WORK = os.environ.get("ZEPHYRCTL_TEST_WORK", "finish")
ERRORS = {"refuse": DataError("row 3 is broken"), "diverge": TrainingDiverged("the loss is NaN")}


def alone(recipe: Recipe, run: Run) -> Result:
    """The data stage on one node: it ends at once, or waits until it is told to stop, saves, and
    ends well the next time."""
    folder = run.stage("data")
    checkpoint = folder.checkpoints / "checkpoint-5"
    if WORK == "tell":
        # What the job was handed, as digests: the values themselves must stand nowhere.
        (folder.path / "handed.json").write_text(json.dumps(_digests(os.environ)))
        (folder.path / "ready").touch()
        while not (folder.path / "seen").exists():
            time.sleep(0.02)
    if WORK in ERRORS:
        raise ERRORS[WORK]
    while WORK == "save" and not checkpoint.exists():
        (folder.path / "ready").touch()
        time.sleep(0.02)
        if signals.stop_signal() is not None:
            checkpoint.mkdir(parents=True)
            raise StoppedEarly("checkpoint-5 stands")
    while WORK in ("wait", "deaf"):
        (folder.path / "ready").touch()
        time.sleep(0.02)
        if WORK == "wait":
            signals.raise_if_stopping()
    return _result(run, {"restarts": int(os.environ.get("SLURM_RESTART_COUNT", "0"))})


def _digests(env: Mapping[str, str]) -> dict[str, str]:
    return {name: hashlib.sha256(value.encode()).hexdigest() for name, value in env.items()}


def together(recipe: Recipe, run: Run) -> Result:
    """The sft stage on two nodes: they add their ranks over gloo."""
    import torch
    import torch.distributed as dist

    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    total = torch.ones(1) * (dist.get_rank() + 1)
    dist.all_reduce(total)
    return _result(run, {"total": total.item()})


def _result(run: Run, metrics: dict[str, float]) -> Result:
    made = run.root / ("sft" if "total" in metrics else "data") / "made.txt"
    made.write_text(str(metrics))
    return Result(metrics, [made])


if __name__ == "__main__":
    os.environ["RANK"] = os.environ["SLURM_PROCID"]
    os.environ["WORLD_SIZE"] = os.environ["SLURM_NTASKS"]
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    os.environ["MASTER_PORT"] = str(20000 + int(os.environ["SLURM_JOB_ID"]))
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    zephyrctl.catalogue.STAGES = Registry(
        "stage", [Entry("data", "", "__main__:alone"), Entry("sft", "", "__main__:together")]
    )
    inputs.inputs = lambda stage, recipe, run: {"stage": stage}
    code = worker.main()
    sys.stdout.flush()
    os._exit(code)
