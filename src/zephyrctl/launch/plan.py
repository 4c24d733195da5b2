"""Which processes does a stage need, and with what command are they started?

Pure: the plan is a value, so that `--print-launch` shows exactly what would be started.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zephyrctl.config.schema.launch import Launch
from zephyrctl.environment import Gpu
from zephyrctl.errors import EnvironmentProblem
from zephyrctl.runs.store import Run, StageName

TRAINING: tuple[StageName, ...] = ("sft", "dpo")
"""Stages that run under torchrun's elastic launcher, also as one process."""
SHARED: tuple[StageName, ...] = (*TRAINING, "eval")
"""Stages whose work several processes can share."""
SECRETS = ("HF_TOKEN", "OPENAI_API_KEY", "WANDB_API_KEY")
"""Environment variables that the processes inherit and whose values are never shown."""
WORKER = ("-m", "zephyrctl.worker")
"""What Python runs in each process."""
_THREADS = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY")
"""Variables about which the user's own value wins."""
_FOREIGN = (
    "ACCELERATE_", "FSDP_", "PET_", "TORCHELASTIC_", "RANK", "LOCAL_RANK", "WORLD_SIZE",
    "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_", "MASTER_ADDR", "MASTER_PORT",
)  # fmt: skip
"""Beginnings of variables of somebody else's launcher, which would be taken for ours."""


@dataclass(frozen=True)
class LaunchPlan:
    """Everything that is needed to start a stage on this machine."""

    run: Path
    stage: StageName
    argv: tuple[str, ...]
    env: Mapping[str, str]
    """Variables set for the processes, beside what they inherit."""
    secrets: tuple[str, ...]
    """Names of inherited variables that hold secrets."""
    processes: int
    devices: str
    """`cpu`, or CUDA's numbers such as `cuda:0,1`."""
    log_dir: Path
    grace_s: float
    """Seconds between the request to stop and the kill."""

    def to_json(self) -> dict[str, Any]:
        """The plan as `--print-launch --json` shows it."""
        return {
            "stage": self.stage,
            "argv": list(self.argv),
            "command": self.command(),
            "env": dict(self.env),
            "secrets": list(self.secrets),
            "processes": self.processes,
            "devices": self.devices,
            "log_dir": str(self.log_dir),
            "grace_s": self.grace_s,
        }

    def command(self) -> str:
        """One line that can be pasted into a shell."""
        words = [f"{name}={shlex.quote(value)}" for name, value in self.env.items()]
        return " ".join([*words, shlex.join(self.argv)])


def plan_launch(
    run: Run,
    stage: StageName,
    settings: Launch,
    *,
    gpus: Sequence[Gpu],
    cores: int,
    env_names: Sequence[str] = (),
    alone: bool = False,
    worker: Sequence[str] = WORKER,
) -> LaunchPlan:
    """The plan for one stage on this machine.

    `gpus` are the visible ones, `cores` the CPU cores this process may use, `env_names` the names
    of the variables that are set here. `alone` is for work that needs no device, such as asking
    services: one process does it. `worker` is what Python is asked to run in each process.
    """
    chosen = choose_gpus(settings.gpus, gpus)
    processes = 1 if alone else _process_count(stage, settings, gpus=chosen)
    if stage in SHARED:
        # One device per process: with more in sight, transformers splits each batch over them.
        chosen = chosen[:processes]
    root = run.root.absolute()
    logs = root / stage / "logs"
    work = (*worker, "--run", str(root), "--stage", stage)
    return LaunchPlan(
        run=root,
        stage=stage,
        argv=_argv(work, stage=stage, processes=processes, logs=logs),
        env={
            name: value
            for name, value in _environment(
                chosen, processes=processes, cores=cores, grace_s=settings.grace_s
            ).items()
            # A number of threads that the user chose is kept.
            if not (name in _THREADS and name in env_names)
        },
        secrets=tuple(name for name in SECRETS if name in env_names),
        processes=processes,
        devices=f"cuda:{','.join(str(gpu.index) for gpu in chosen)}" if chosen else "cpu",
        log_dir=logs,
        grace_s=settings.grace_s,
    )


def choose_gpus(wanted: str | Sequence[int], visible: Sequence[Gpu]) -> list[Gpu]:
    """The GPUs of `launch.gpus` among the visible ones; EnvironmentProblem where one is absent."""
    if wanted == "none":
        return []
    if wanted == "all":
        return list(visible)
    by_index = {gpu.index: gpu for gpu in visible}
    absent = [str(index) for index in wanted if index not in by_index]
    if absent:
        there = ", ".join(str(index) for index in by_index) or "none"
        raise EnvironmentProblem(
            f"launch.gpus asks for GPU {', '.join(absent)}; visible here: {there}",
            hint="zephyrctl doctor, or --set launch.gpus=none for the CPU",
        )
    return [by_index[int(index)] for index in wanted]


def inherited(env: Mapping[str, str]) -> dict[str, str]:
    """The environment handed on to the processes.

    Another launcher's variables would be taken for ours (a stray RANK silences the reporter), and
    configuration overrides are already resolved in `config.json`.
    """
    return {
        name: value
        for name, value in env.items()
        if not name.startswith(_FOREIGN) and not (name.startswith("ZEPHYRCTL_") and "__" in name)
    }


def _process_count(stage: StageName, settings: Launch, *, gpus: Sequence[Gpu]) -> int:
    if stage not in SHARED or settings.strategy == "single":
        return 1
    return len(gpus) or settings.cpu_processes


def _argv(
    work: tuple[str, ...], *, stage: StageName, processes: int, logs: Path
) -> tuple[str, ...]:
    if stage not in TRAINING and processes == 1:
        return (sys.executable, "-u", *work)
    return (
        sys.executable, "-u", "-m", "torch.distributed.run",
        # A free port of this machine; the address is given because a container's own host name
        # often does not resolve.
        "--standalone", "--local-addr", "127.0.0.1",
        "--nproc-per-node", str(processes),
        # Restarts inside one torchrun recovered 1 time in 11; a new one resumes exactly.
        "--max-restarts", "0",
        "--log-dir", str(logs / "elastic"),
        *(["--module"] if work[0] == "-m" else []),
        # torchrun would take our --run for an abbreviation of its --run-path.
        "--", *work[work[0] == "-m":],
    )  # fmt: skip


def _environment(
    gpus: Sequence[Gpu], *, processes: int, cores: int, grace_s: float
) -> dict[str, str]:
    env = {
        "OMP_NUM_THREADS": str(max(1, cores // processes)),
        "PYTHONHASHSEED": "0",
        # A user's own datasets.py in the current folder must not stand in for the library.
        "PYTHONSAFEPATH": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(max(1, round(grace_s))),
    }
    if gpus:
        env["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
        env["CUDA_VISIBLE_DEVICES"] = ",".join(str(gpu.index) for gpu in gpus)
    else:
        env["CUDA_VISIBLE_DEVICES"] = ""
        env["ACCELERATE_USE_CPU"] = "true"
        # Threads that wait without spinning: beside one other busy process on two cores, spinning
        # ones trained the toy model at 1,652 tokens/s, these at 7,902.
        env["OMP_WAIT_POLICY"] = "PASSIVE"
        # Without it gloo resolves the host name, which a container may not know.
        env["GLOO_SOCKET_IFNAME"] = "lo"
    return env
