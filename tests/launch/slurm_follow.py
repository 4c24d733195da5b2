"""What a command does around a job, as a process that a test can interrupt or kill."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

from zephyrctl.config.schema.launch import Launch, Slurm
from zephyrctl.errors import ZephyrctlError
from zephyrctl.launch.plan import Host, LaunchPlan, plan_launch
from zephyrctl.launch.slurm.jobs import start
from zephyrctl.runs.store import Run, StageName, lock

STAGE = Path(__file__).with_name("slurm_stage.py")


def settings_for(*, nodes: int = 1, grace_s: float = 10.0, **slurm: object) -> Launch:
    """Settings of a launch on the test cluster's processors, looked at often."""
    slurm = {"poll_s": 0.3, "memory_gb": 1, **slurm}
    return Launch(
        backend="slurm", nodes=nodes, gpus_per_node=0, grace_s=grace_s,
        slurm=Slurm.model_validate(slurm),
    )  # fmt: skip


def plan_for(run: Run, stage: StageName, settings: Launch) -> LaunchPlan:
    """The plan of a stage whose part on each node is the script of these tests."""
    host = Host(gpus=None, cores=1, env_names=tuple(os.environ))
    plan = plan_launch(run, stage, settings, host=host)
    return replace(plan, node_argv=(plan.node_argv[0], str(STAGE), *plan.node_argv[3:]))


def main(root: str, *options: str) -> None:
    run = Run(Path(root))
    settings = settings_for(options=list(options))
    try:
        with lock(run, purpose="test"):
            start(plan_for(run, "data", settings), settings, on_stop=_say)
    except ZephyrctlError as error:
        _say(json.dumps(error.to_json()))
        os._exit(error.exit_code)
    _say("finished")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
