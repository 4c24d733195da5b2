"""The plan of a stage whose worker is the script of these tests. Child processes import it too."""

import os
from pathlib import Path

from zephyrctl.config.schema.launch import Launch
from zephyrctl.launch.plan import Host, LaunchPlan, plan_launch
from zephyrctl.runs.store import Run, StageName

SCRIPT = Path(__file__).with_name("stage_script.py")


def plan_for(
    run: Run,
    stage: StageName,
    *,
    processes: int = 1,
    grace_s: float = 10.0,
    hang_after_s: float = 600.0,
) -> LaunchPlan:
    """The plan of one stage on the CPU."""
    settings = Launch(cpu_processes=processes, grace_s=grace_s, hang_after_s=hang_after_s)
    return plan_launch(
        run, stage, settings, worker=(str(SCRIPT),),
        host=Host(gpus=[], cores=processes, env_names=tuple(os.environ)),
    )  # fmt: skip
