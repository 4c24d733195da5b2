"""With which words, and with which environment, is a stage submitted?

Pure. Every value is one word of sbatch's command line or one argument of the fixed script
`job.sh`; nothing is written into a script.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from zephyrctl.config.schema.launch import Launch, Slurm
from zephyrctl.errors import ConfigError
from zephyrctl.launch.plan import SHARED, LaunchPlan, inherited
from zephyrctl.launch.slurm.record import CLUSTERS, NAME
from zephyrctl.runs.store import RUN_NAME

SCRIPT = Path(__file__).with_name("job.sh")
LOG = "slurm.log"
"""What the job itself says, among the logs of its stage."""
_OURS = (
    "array", "chdir", "comment", "error", "export", "export-file", "get-user-env", "input",
    "job-name", "no-requeue", "nodes", "ntasks", "ntasks-per-node", "open-mode", "output",
    "parsable", "requeue", "signal", "test-only", "wait", "wrap",
)  # fmt: skip
"""Options of sbatch that the job depends on; users cannot set them."""
_OF_SLURM = ("SLURM_CONF", "SLURM_JWT", "SLURM_CLUSTERS")
"""Variables that find the cluster; others that begin so belong to a job that we may be inside."""
_OF_SBATCH = (
    "SBATCH_ARRAY_INX", "SBATCH_ERROR", "SBATCH_GET_USER_ENV", "SBATCH_INPUT", "SBATCH_WAIT",
)  # fmt: skip
"""Defaults of a user's that no option of ours overrules, and that would break the job."""
_OF_THE_LOGIN_NODE = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "ROCR_VISIBLE_DEVICES", "TMPDIR")
_LOOKS_SECRET = re.compile(
    r"(?i)(secret|passw|credential|private|(api|access|auth)_?key|(^|_)(token|key|pw|pat|jwt)$)"
)
_LONGEST_WARNING_S = 65535
"""The largest time that `--signal` takes."""


@dataclass(frozen=True)
class Submission:
    """What is given to the operating system to submit one job."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    left_behind: tuple[str, ...]
    """Names of variables that look like secrets and that the stage does not need."""


def submission(
    plan: LaunchPlan, settings: Launch, *, environ: Mapping[str, str], mark: str, folder: Path
) -> Submission:
    """How the stage of `plan` is submitted from the folder `folder`; `mark` finds the job again.

    ConfigError where an option of the user's would break the job.
    """
    _refuse_names(plan)
    env, left = _environment(environ, secrets=plan.secrets)
    argv = (
        "sbatch",
        "--parsable",
        f"{NAME}{plan.run.name}-{plan.stage}",
        f"--comment={mark}",
        f"--nodes={plan.nodes}",
        "--ntasks-per-node=1",
        *_resources(plan, settings),
        *_placement(settings.slurm),
        *_clusters(settings.slurm, environ),
        # To every process of the job, that long before the time limit; Slurm may be a minute early.
        f"--signal=USR1@{min(_LONGEST_WARNING_S, math.ceil(plan.grace_s))}",
        "--requeue" if settings.slurm.requeue else "--no-requeue",
        "--open-mode=append",
        f"--output={_literal(plan.log_dir / LOG)}",
        f"--chdir={folder}",
        # The environment of this call, which is the one above.
        "--export=ALL",
        *_further(settings.slurm),
        str(SCRIPT),
        *_arguments(plan, settings.slurm),
    )
    return Submission(argv, env, left)


def gpus_per_node(plan: LaunchPlan, settings: Launch) -> int:
    """GPUs that the stage asks for on each node; preparing data needs none."""
    if plan.devices == "cpu" or plan.stage not in SHARED:
        return 0
    if settings.gpus_per_node is not None:
        return settings.gpus_per_node
    return len(settings.gpus) if isinstance(settings.gpus, list) else plan.processes


def _refuse_names(plan: LaunchPlan) -> None:
    """Names reach the job's name and its log; the shape of a run's name is checked once more."""
    if not RUN_NAME.fullmatch(plan.run.name):
        raise ConfigError(
            f"'{plan.run.name}' cannot be the name of a job",
            where="name",
            hint="letters, digits, '.', '_' and '-', beginning with a letter or digit",
        )


def _resources(plan: LaunchPlan, settings: Launch) -> list[str]:
    slurm, gpus = settings.slurm, gpus_per_node(plan, settings)
    words = [f"--gpus-per-node={gpus}"] if gpus else []
    if slurm.cpus_per_task is not None:
        words.append(f"--cpus-per-task={slurm.cpus_per_task}")
    if slurm.memory_gb is not None:
        words.append(f"--mem={slurm.memory_gb}G")
    if slurm.time_minutes is not None:
        words.append(f"--time={slurm.time_minutes}")
    return words


def _placement(slurm: Slurm) -> list[str]:
    named = {
        "partition": slurm.partition,
        "account": slurm.account,
        "qos": slurm.qos,
        "constraint": slurm.constraint,
    }
    return [f"--{name}={value}" for name, value in named.items() if value is not None]


def _clusters(slurm: Slurm, environ: Mapping[str, str]) -> list[str]:
    """The clusters that sbatch chooses from, where these are not just its own: written out, so that
    the same ones are asked for the job."""
    own = [option.partition("=") for option in slurm.options]
    named = [value for name, _, value in own if name in ("--clusters", "--cluster")]
    # sbatch looks at them in this order.
    variables = [environ[name] for name in ("SBATCH_CLUSTERS", "SLURM_CLUSTERS") if name in environ]
    chosen = [*named[-1:], *variables]
    return [f"{CLUSTERS}{chosen[0]}"] if chosen and chosen[0] else []


def _further(slurm: Slurm) -> list[str]:
    for option in slurm.options:
        given = option.removeprefix("--").partition("=")[0]
        # sbatch takes a name that is cut short for the whole one.
        name = next((own for own in _OURS if own.startswith(given)), None)
        if name is not None:
            raise ConfigError(
                f"sbatch's --{name} is set by zephyrctl itself",
                where="launch.slurm.options",
                hint=f"remove {option}",
            )
    return list(slurm.options)


def _arguments(plan: LaunchPlan, slurm: Slurm) -> list[str]:
    """The arguments of job.sh."""
    default = "python3" if slurm.container else plan.node_argv[0]
    python = slurm.python or default
    return [
        str(plan.run),
        plan.stage,
        "1" if slurm.requeue else "0",
        " ".join(slurm.modules),
        "" if slurm.container else python,
        *_container(plan, slurm),
        "--",
        python,
        *plan.node_argv[1:],
    ]


def _container(plan: LaunchPlan, slurm: Slurm) -> list[str]:
    if slurm.container is None:
        return []
    root = str(plan.run)
    if set(root) & set(",:"):
        raise ConfigError(
            f"a container cannot be shown a folder with ',' or ':' in its name: {root}",
            where="output_root",
            hint="--set output_root=FOLDER",
        )
    mounts = ",".join([*slurm.container_mounts, f"{root}:{root}"])
    return [f"--container-image={slurm.container}", f"--container-mounts={mounts}"]


def _environment(
    environ: Mapping[str, str], *, secrets: tuple[str, ...]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """What the job inherits, and the names of what it does not because they look like secrets."""
    env: dict[str, str] = {}
    left: list[str] = []
    for name, value in inherited(environ).items():
        if name in (*_OF_THE_LOGIN_NODE, *_OF_SBATCH) or (
            name.startswith("SLURM_") and name not in _OF_SLURM
        ):
            continue
        if name in secrets or name in _OF_SLURM or not _LOOKS_SECRET.search(name):
            env[name] = value
        else:
            left.append(name)
    # A user's own zephyrctl folder in the working folder must not stand in for the program.
    return {**env, "PYTHONSAFEPATH": "1"}, tuple(sorted(left))


def _literal(path: Path) -> str:
    """A path for --output, in which % begins a replacement."""
    return str(path).replace("%", "%%")
