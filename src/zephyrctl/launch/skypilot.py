"""What is a stage as a managed job of SkyPilot, and how is it handed over?

The job's file is written through a YAML dumper and every command through `shlex.join`, so that no
name can become a command. Secrets are named in it, never written. The job is not followed from
here: its run folder is in a bucket, and SkyPilot brings it back after a machine was taken away.
Preparing data needs no GPU and stays on this machine.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import zephyrctl
from zephyrctl import terminal
from zephyrctl.config.schema.launch import Launch
from zephyrctl.errors import ConfigError, EnvironmentProblem, JobFailed, StoppedEarly
from zephyrctl.launch import local
from zephyrctl.launch.plan import LaunchPlan
from zephyrctl.runs import signals
from zephyrctl.runs.atomic import write_json, write_text
from zephyrctl.runs.store import STAGES, Run

RUNS = "/zephyrctl/runs"
"""Where a machine of the job sees the runs."""
GIVEN = "/zephyrctl/given"
"""Where it sees what this machine made for the stage: copied, not mounted."""
VOLUME = "volume://"
"""Beginning of a `launch.skypilot.bucket` that names a volume of SkyPilot."""
SETUP = """\
python3 -c 'import zephyrctl' 2>/dev/null || python3 -m pip install --quiet '.[cuda]'
python3 -c 'import zephyrctl'
"""
"""Fixed text, run in the working folder: an image may bring the program, else it is installed."""
_RECOVER = (75,)
"""After these exit codes SkyPilot starts the job again, as often as it takes. A hang (78) is not
among them: the job itself starts again after one that left progress, and one that did not would
cost machines for ever."""


def start(
    plan: LaunchPlan,
    settings: Launch,
    *,
    on_poll: Callable[[], None],
    on_stop: Callable[[str], None],
) -> None:
    """Write the job's file, and submit it where somebody can agree to it; then StoppedEarly tells
    how it goes on, since the stage is not done. The data stage runs here."""
    if plan.stage == "data":
        local.start(plan, settings, on_poll=on_poll, on_stop=on_stop)
        return
    folder = plan.run / "launch"
    path = folder / f"{plan.stage}.sky.yaml"
    text = task_yaml(plan, settings)
    write_json(_config_path(plan), _config_there(plan))
    write_text(path, text)
    argv = submit_argv(plan, path)
    done = False
    if shutil.which("sky") and terminal.is_tty(sys.stdin) and terminal.is_tty(sys.stderr):
        # sky shows the machines and their price, and asks: a request to stop ends the question.
        with signals.at_once():
            done = _submit(argv)
    where = settings.skypilot.bucket
    if done:
        raise StoppedEarly(
            f"{plan.stage} was submitted to SkyPilot and is not followed here; its results come to "
            f"{where}/{plan.run.name}/{plan.stage}",
            where=str(path),
            hint="sky jobs queue",
        )
    raise StoppedEarly(
        f"{plan.stage} is written as a job of SkyPilot, and not submitted: it costs money. Its "
        f"results will come to {where}/{plan.run.name}/{plan.stage}",
        where=str(path),
        hint=shlex.join(argv),
    )


def task(plan: LaunchPlan, settings: Launch) -> dict[str, Any]:
    """The job as SkyPilot's schema wants it; ConfigError where the settings lack something."""
    sky = settings.skypilot
    bucket = _checked_bucket(plan, settings)
    on_gpu = plan.devices != "cpu"
    resources: dict[str, Any] = {
        **({"infra": sky.infra} if sky.infra else {}),
        **({"accelerators": sky.accelerators} if on_gpu else {}),
        "use_spot": sky.use_spot,
        "disk_size": sky.disk_gb,
        **({"image_id": sky.image} if sky.image else {}),
        "job_recovery": {
            # It counts errors of every kind, settings and divergence too; one machine starts again
            # by itself, and only after progress.
            "max_restarts_on_errors": settings.max_restarts if plan.nodes > 1 else 0,
            "recover_on_exit_codes": list(_RECOVER),
        },
    }
    source = _source(settings)
    mounts: dict[str, Any] = {f"{GIVEN}/config.json": str(_config_path(plan))}
    mounts |= {f"{GIVEN}/{name}": str(path) for name, path in _given(plan).items()}
    whole: dict[str, Any] = {
        "name": f"zephyrctl-{plan.run.name}-{plan.stage}",
        "resources": resources,
        "num_nodes": plan.nodes,
        **({"workdir": str(source)} if source else {}),
        "file_mounts": mounts,
        "envs": {"HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONUNBUFFERED": "1"},
    }
    if bucket.startswith(VOLUME):
        whole["volumes"] = {RUNS: bucket.removeprefix(VOLUME)}
    else:
        # Not MOUNT: there files can neither be appended to nor written in place, which metrics and
        # heartbeats need. The cache writes them to the bucket some seconds later; checkpoints that
        # did not get there whole are found by their digests.
        mounts[RUNS] = {"source": bucket, "mode": "MOUNT_CACHED"}
    if plan.secrets:
        whole["secrets"] = dict.fromkeys(plan.secrets)
    whole["setup"] = SETUP
    whole["run"] = shlex.join(_command(plan))
    return whole


def task_yaml(plan: LaunchPlan, settings: Launch) -> str:
    """The file of the managed job."""
    import yaml

    return yaml.safe_dump(task(plan, settings), sort_keys=False, width=100, allow_unicode=True)


def submit_argv(plan: LaunchPlan, path: Path) -> list[str]:
    """The command that submits the job. The values of secrets are taken from the environment."""
    secrets = [word for name in plan.secrets for word in ("--secret", name)]
    return ["sky", "jobs", "launch", "--detach-run", *secrets, str(path)]


def _command(plan: LaunchPlan) -> Sequence[str]:
    once = () if plan.nodes > 1 else ("--keep-going",)
    return (
        "python3", "-u", "-m", "zephyrctl.launch.node", "--run", f"{RUNS}/{plan.run.name}",
        "--stage", plan.stage, "--config", f"{GIVEN}/config.json", "--given", GIVEN, *once,
    )  # fmt: skip


def _checked_bucket(plan: LaunchPlan, settings: Launch) -> str:
    bucket = settings.skypilot.bucket
    if bucket is None:
        raise ConfigError(
            "a job of SkyPilot keeps its run in a bucket, and none is named",
            where="launch.skypilot.bucket",
            hint="--set launch.skypilot.bucket=s3://NAME",
        )
    if plan.nodes > 1 and not bucket.startswith(VOLUME):
        raise ConfigError(
            f"{plan.nodes} machines save one checkpoint together, and a bucket is no disk that "
            "they share: each sees the others' files late",
            where="launch.skypilot.bucket",
            hint=f"--set launch.skypilot.bucket={VOLUME}NAME of a shared volume (sky volumes ls), "
            "or --set launch.nodes=1",
        )
    return bucket


def _source(settings: Launch) -> Path | None:
    """The clone that this program runs from, which a machine installs; None where the image brings
    the program."""
    if settings.skypilot.image:
        return None
    clone = Path(zephyrctl.__file__).parents[2]
    if not (clone / "pyproject.toml").is_file():
        raise EnvironmentProblem(
            "the machines need this program, and it does not run from a clone that they could get",
            where="launch.skypilot.image",
            hint="--set launch.skypilot.image=docker:IMAGE, one that holds zephyrctl",
        )
    return clone


def _given(plan: LaunchPlan) -> dict[str, Path]:
    """What earlier stages made on this machine, by its path within the run."""
    found: dict[str, Path] = {}
    for stage in STAGES[: STAGES.index(plan.stage)]:
        folder = plan.run / stage
        parts = [folder] if stage == "data" else [folder / "manifest.json", folder / "model"]
        if Run(plan.run).stage(stage).is_finished():
            found |= {path.relative_to(plan.run).as_posix(): path for path in parts}
    return found


def _config_path(plan: LaunchPlan) -> Path:
    return plan.run / "launch" / f"{plan.stage}.config.json"


def _config_there(plan: LaunchPlan) -> dict[str, Any]:
    """The configuration of the job: the run's, with the folder of runs as its machines see it."""
    recipe = Run(plan.run).recipe()
    return {**recipe.model_dump(mode="json"), "output_root": RUNS}


def _submit(argv: Sequence[str]) -> bool:
    """Whether the job was submitted; False where the user said no."""
    # What sky prints is for the user, and stdout is kept for data.
    ended = subprocess.run(argv, stdout=sys.stderr, check=False)
    if ended.returncode not in (0, 1):
        raise JobFailed(f"sky ended with exit code {ended.returncode}", hint=shlex.join(argv))
    return ended.returncode == 0
