"""Which processes does a stage need, on how many machines, and with what command are they started?

Pure: the plan is a value, so that `--print-launch` shows exactly what would be started. Every
launcher consumes the same plan, on this machine, on a cluster or in a cloud.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zephyrctl.config.schema.launch import Launch
from zephyrctl.environment import Gpu
from zephyrctl.errors import ConfigError, EnvironmentProblem
from zephyrctl.launch.places import checked_rank
from zephyrctl.launch.torchrun import Meeting, torchrun
from zephyrctl.runs.store import Run, StageName

TRAINING: tuple[StageName, ...] = ("sft", "dpo")
"""Stages that run under torchrun's elastic launcher, also as one process, and span machines."""
SHARED: tuple[StageName, ...] = (*TRAINING, "eval")
"""Stages whose work several processes can share."""
SECRETS = ("HF_TOKEN", "OPENAI_API_KEY", "WANDB_API_KEY")
"""Environment variables that the processes inherit and whose values are never shown."""
WORKER = ("-m", "zephyrctl.worker")
"""What Python runs in each process."""
NODE = ("-m", "zephyrctl.launch.node")
"""What Python runs on each machine of a cluster: it plans and supervises that machine's part."""
EXIT_CODES: Mapping[str, tuple[int, ...]] = {
    "requeue": (75,),
    "restart": (1, 78),
    "stop": (2, 3, 4, 5, 6, 7, 73, 77),
}
"""What a launcher does after each exit code of a stage (errors.py names them)."""
DISK_BYTES_PER_S = 250e6
"""What a checkpoint is taken to be written at, checked and waited for: half the rate of a slow SSD,
and about a cluster's shared folder with eight writers."""
UNKNOWN_RENDEZVOUS = "MACHINE_0:PORT"
"""Stands for an address that only the cluster can tell, in a plan that is shown."""
_THREADS = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY")
"""Variables about which the user's own value wins."""
_FOREIGN = (
    "ACCELERATE_", "FSDP_", "PET_", "TORCHELASTIC_", "RANK", "LOCAL_RANK", "WORLD_SIZE",
    "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_", "MASTER_ADDR", "MASTER_PORT",
)  # fmt: skip
"""Beginnings of variables of somebody else's launcher, which would be taken for ours."""


@dataclass(frozen=True)
class Host:
    """One machine, as far as a plan for it must know it."""

    gpus: Sequence[Gpu] | None
    """The visible ones; None where they cannot be seen from here, as on a cluster's front end."""
    cores: int
    """CPU cores that a process may use."""
    env_names: Sequence[str] = ()
    """Names of the variables that are set here."""
    rank: int = 0
    """Which of `launch.nodes` it is."""
    address: str | None = None
    """How the other machines reach it; None lets torchrun find out."""
    rendezvous: str | None = None
    """`host:port` of machine 0; None takes `launch.rendezvous`."""
    attempt: str = "attempt"
    """Name of this start, the same on all machines."""


@dataclass(frozen=True)
class LaunchPlan:
    """Everything that is needed to start a stage, on one machine or its part on one of several."""

    run: Path
    stage: StageName
    argv: tuple[str, ...]
    """The command of one machine: torchrun around the worker, or the worker itself."""
    env: Mapping[str, str]
    """Variables set for the processes, beside what they inherit."""
    secrets: tuple[str, ...]
    """Names of inherited variables that hold secrets."""
    nodes: int
    """Machines that take part."""
    processes: int
    """Processes on each machine."""
    devices: str
    """`cpu`, CUDA's numbers such as `cuda:0,1`, or `cuda` where they cannot be seen here."""
    log_dir: Path
    grace_s: float
    """Seconds between the request to stop and the kill."""
    time_s: float | None = None
    """Limit of one job; None where there is none."""
    hang_after_s: float = 600.0
    """Least seconds without a step that are taken for a hang."""
    exit_codes: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: dict(EXIT_CODES))
    """What follows an exit code: `requeue`, `restart` or `stop`."""
    node: int = 0
    """Which of the machines this plan is for."""
    attempt: str = "attempt"
    """Name of this start, the same on all machines."""
    node_argv: tuple[str, ...] = ()
    """What a cluster starts on each machine: it plans there, with the devices that it sees, and
    supervises `argv`. Empty where this machine starts `argv` itself."""

    @property
    def launcher_log(self) -> Path:
        """What torchrun says on this machine; each has its own on the shared disk."""
        return self.log_dir / ("launcher.log" if self.node == 0 else f"launcher-{self.node}.log")

    def to_json(self) -> dict[str, Any]:
        """The plan as `--print-launch --json` shows it."""
        return {
            "run": str(self.run),
            "stage": self.stage,
            "argv": list(self.argv),
            "node_argv": list(self.node_argv),
            "command": self.command(),
            "env": dict(self.env),
            "secrets": list(self.secrets),
            "nodes": self.nodes,
            "processes": self.processes,
            "devices": self.devices,
            "log_dir": str(self.log_dir),
            "grace_s": self.grace_s,
            "time_s": self.time_s,
            "hang_after_s": self.hang_after_s,
            "exit_codes": {name: list(codes) for name, codes in self.exit_codes.items()},
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
    host: Host,
    alone: bool = False,
    worker: Sequence[str] = WORKER,
    saved_bytes: float = 0.0,
) -> LaunchPlan:
    """The plan of one stage for one machine; ConfigError or EnvironmentProblem where the settings
    contradict each other or the machine.

    `alone` is for work that needs no device, such as asking services: one process does it.
    `worker` is what Python is asked to run in each process, `saved_bytes` the size of a checkpoint,
    which must be written within the grace.
    """
    nodes = _machines(stage, settings)
    # A job of a cluster is given GPUs only where its stage uses them.
    given = settings.backend != "slurm" or (stage in SHARED and not alone)
    chosen, count = _devices(settings, host) if given else ([], 0)
    processes = 1 if alone else _process_count(stage, settings, devices=count)
    if chosen is not None and stage in SHARED:
        # One device per process: with more in sight, transformers splits each batch over them.
        chosen = chosen[:processes]
    root = run.root.absolute()
    logs = root / stage / "logs"
    work = ("--run", str(root), "--stage", stage)
    grace_s = grace(settings, saved_bytes=saved_bytes)
    argv: tuple[str, ...] = (sys.executable, "-u", *worker, *work)
    if stage in TRAINING or processes > 1:
        argv = torchrun(
            (*worker, *work),
            processes=processes,
            logs=logs,
            nodes=nodes,
            meeting=_meeting(settings, host) if nodes > 1 else None,
        )
    env = _environment(
        chosen, processes=processes, cores=host.cores, grace_s=grace_s, on_cpu=count == 0
    )
    env |= _interface(settings, nodes=nodes, on_cpu=count == 0)
    return LaunchPlan(
        run=root,
        stage=stage,
        argv=argv,
        # A number of threads that the user chose is kept.
        env={k: v for k, v in env.items() if not (k in _THREADS and k in host.env_names)},
        secrets=tuple(name for name in SECRETS if name in host.env_names),
        nodes=nodes,
        processes=processes,
        devices=_in_words(chosen, count=count),
        log_dir=logs,
        grace_s=grace_s,
        time_s=_time_limit(settings),
        hang_after_s=settings.hang_after_s,
        node=host.rank if nodes > 1 else 0,
        attempt=host.attempt,
        node_argv=_node_argv(settings, (*worker[len(WORKER) :], *work)),
    )


def grace(settings: Launch, *, saved_bytes: float) -> float:
    """Seconds from the request to stop until the kill: `launch.grace_s`, or what writing a
    checkpoint takes on a slow disk where that is more."""
    return max(settings.grace_s, round(saved_bytes / DISK_BYTES_PER_S, 1))


def choose_gpus(wanted: str | Sequence[int], visible: Sequence[Gpu]) -> list[Gpu]:
    """The GPUs of `launch.gpus` among the visible ones; EnvironmentProblem where one is absent,
    ConfigError where one is named twice."""
    if wanted == "none":
        return []
    if wanted == "all":
        return list(visible)
    if len(set(wanted)) < len(wanted):
        raise ConfigError(
            f"launch.gpus names a GPU twice: {', '.join(map(str, wanted))}",
            where="launch.gpus",
            hint="name each once: each process has a GPU of its own",
        )
    # Parts of a GPU (MIG) have no number of their own: theirs is their place in the list.
    parts = any(gpu.uuid.startswith("MIG-") for gpu in visible)
    by_index = {place if parts else gpu.index: gpu for place, gpu in enumerate(visible)}
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


def _devices(settings: Launch, host: Host) -> tuple[list[Gpu] | None, int]:
    """The GPUs of the machine (None where they cannot be seen from here), and their number."""
    asked = settings.gpus_per_node
    if settings.gpus == "none":
        return ([] if host.gpus is not None else None), 0
    if host.gpus is None:
        if asked is None and settings.backend == "skypilot":
            asked = int(settings.skypilot.accelerators.rpartition(":")[2])
        if asked is None and not isinstance(settings.gpus, list):
            raise ConfigError(
                "the GPUs of the cluster's machines cannot be seen from here",
                where="launch.gpus_per_node",
                hint="--set launch.gpus_per_node=8   (0 for the CPU)",
            )
        return None, len(settings.gpus) if asked is None else asked
    chosen = choose_gpus(settings.gpus, host.gpus)
    if asked is not None and asked > len(chosen):
        raise EnvironmentProblem(
            f"launch.gpus_per_node asks for {asked} GPUs; usable on this machine: {len(chosen)}",
            where="launch.gpus_per_node",
            hint="zephyrctl doctor, or --set launch.gpus_per_node=0 for the CPU",
        )
    chosen = chosen[:asked]
    return chosen, len(chosen)


def _machines(stage: StageName, settings: Launch) -> int:
    """How many machines take part; ConfigError where one process was asked for on several."""
    nodes = settings.nodes if stage in TRAINING else 1
    if nodes > 1 and settings.strategy == "single":
        raise ConfigError(
            f"launch.strategy single is one process, launch.nodes asks for {nodes} machines",
            where="launch.nodes",
            hint="--set launch.nodes=1, or --set launch.strategy=auto",
        )
    return nodes


def _process_count(stage: StageName, settings: Launch, *, devices: int) -> int:
    """Processes on each machine; ConfigError where one and several were asked for."""
    if stage not in SHARED:
        return 1
    if settings.strategy == "single":
        if not devices and settings.cpu_processes > 1:
            raise ConfigError(
                "launch.strategy single is one process, launch.cpu_processes asks for "
                f"{settings.cpu_processes}",
                where="launch.cpu_processes",
                hint="--set launch.cpu_processes=1, or --set launch.strategy=auto",
            )
        return 1
    return devices or settings.cpu_processes


def _meeting(settings: Launch, host: Host) -> Meeting:
    """Where the machines meet; ConfigError where nobody says so and no cluster will."""
    checked_rank(settings, host.rank)
    found = host.rendezvous or settings.rendezvous
    if found is None and settings.backend == "local":
        raise ConfigError(
            f"{settings.nodes} machines need an address to meet at: one of machine 0",
            where="launch.rendezvous",
            hint="--set launch.rendezvous=HOST:29400",
        )
    return Meeting(
        backend=settings.rendezvous_backend,
        endpoint=found or UNKNOWN_RENDEZVOUS,
        rank=host.rank,
        address=host.address,
        attempt=host.attempt,
    )


def _node_argv(settings: Launch, work: tuple[str, ...]) -> tuple[str, ...]:
    return () if settings.backend == "local" else (sys.executable, *NODE, *work)


def _time_limit(settings: Launch) -> float | None:
    minutes = settings.slurm.time_minutes if settings.backend == "slurm" else None
    return None if minutes is None else 60.0 * minutes


def _in_words(chosen: Sequence[Gpu] | None, *, count: int) -> str:
    if count == 0:
        return "cpu"
    if chosen is None:
        return "cuda"
    return f"cuda:{','.join(gpu.cuda_name for gpu in chosen)}"


def _environment(
    gpus: Sequence[Gpu] | None, *, processes: int, cores: int, grace_s: float, on_cpu: bool
) -> dict[str, str]:
    env = {
        "OMP_NUM_THREADS": str(max(1, cores // processes)),
        "PYTHONHASHSEED": "0",
        # A user's own datasets.py in the current folder must not stand in for the library.
        "PYTHONSAFEPATH": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(max(1, round(grace_s))),
    }
    if on_cpu:
        env["CUDA_VISIBLE_DEVICES"] = ""
        env["ACCELERATE_USE_CPU"] = "true"
        # Threads that wait without spinning: beside one other busy process on two cores, spinning
        # ones trained the toy model at 1,652 tokens/s, these at 7,902.
        env["OMP_WAIT_POLICY"] = "PASSIVE"
    elif gpus is not None:
        env["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
        env["CUDA_VISIBLE_DEVICES"] = ",".join(gpu.cuda_name for gpu in gpus)
    return env


def _interface(settings: Launch, *, nodes: int, on_cpu: bool) -> dict[str, str]:
    """Over which network interface the processes talk."""
    if nodes > 1:
        name = settings.interface
        return {"GLOO_SOCKET_IFNAME": name, "NCCL_SOCKET_IFNAME": name} if name else {}
    # Without it gloo resolves the host name, which a container may not know.
    return {"GLOO_SOCKET_IFNAME": "lo"} if on_cpu else {}
