"""Settings of the launch and of experiment trackers."""

from typing import Annotated, Literal

from pydantic import Field

from zephyrctl.config.schema.section import Section

WORD = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
"""Names that reach another program's command line, such as a partition."""
CONSTRAINT = r"^[A-Za-z0-9_(\[][A-Za-z0-9_&|,()*\[\]-]{0,127}$"
"""Features of nodes, joined by & and |; no hyphen first, which would make it an option."""
Name = Annotated[str, Field(pattern=f"^{WORD}$")]
OPTION = r"^--[a-z][a-z0-9-]*(=[A-Za-z0-9_.,:/@%+-]{1,256})?$"
Option = Annotated[str, Field(pattern=OPTION)]
Minutes = Annotated[int, Field(ge=1)]
Mount = Annotated[
    str, Field(pattern=r"^/[^:,\x00-\x1f]{0,255}(:/[^:,\x00-\x1f]{0,255}(:r[ow])?)?$")
]
Image = Annotated[str, Field(pattern=r"^[A-Za-z0-9/][^\s\x00-\x1f]{0,511}$")]
_PORT = r"([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
ADDRESS = rf"^[A-Za-z0-9._-]{{1,253}}:{_PORT}$"
ACCELERATORS = r"^[A-Za-z0-9_.-]{1,32}:[0-9]{1,3}$"
BUCKET = r"^[a-z0-9]+://[A-Za-z0-9._/-]{1,200}$"
Program = Annotated[str, Field(pattern=r"^[A-Za-z0-9_./][^\x00-\x1f]{0,511}$")]


class Slurm(Section):
    """The job that `backend: slurm` submits for each stage."""

    partition: Name | None = None
    """Partition (`sbatch --partition`); null leaves it to the cluster."""
    account: Name | None = None
    """Account that is charged."""
    qos: Name | None = None
    """Quality of service."""
    constraint: Annotated[str, Field(pattern=CONSTRAINT)] | None = None
    """Features that the nodes must have, such as `h100&nvlink`."""
    time_minutes: Minutes | None = None
    """Time limit of one job. Before it ends the stage saves, stops and is requeued; null leaves it
    to the cluster."""
    cpus_per_task: int | None = Field(default=None, ge=1)
    """CPU cores per node; null leaves it to the cluster."""
    memory_gb: int | None = Field(default=None, ge=1)
    """Memory per node; null leaves it to the cluster."""
    modules: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+/-]{0,127}$")]] = []
    """Environment modules that are loaded first, such as `cuda/13.0`."""
    container: Image | None = None
    """Container image: passed to `srun --container-image` (pyxis). It must hold zephyrctl."""
    container_mounts: list[Mount] = []
    """Folders seen inside the container, `/host/path:/path`; the run's folder always is."""
    python: Program | None = None
    """Python of the nodes; null is the one that runs this command (in a container, `python3`)."""
    requeue: bool = True
    """Put a job that stopped early (exit 75) back into the queue."""
    options: list[Option] = []
    """Further options of sbatch, such as `--exclusive` or `--mail-type=END`."""
    poll_s: float = Field(default=5.0, gt=0)
    """Seconds between two looks at the queue."""


class SkyPilot(Section):
    """The managed job that `backend: skypilot` writes for each stage."""

    infra: Annotated[str, Field(pattern=r"^[a-z0-9*][A-Za-z0-9*/_.-]{0,127}$")] | None = None
    """Where it may run, such as `aws/us-east-1`; null lets SkyPilot choose the cheapest."""
    accelerators: Annotated[str, Field(pattern=ACCELERATORS)] = "H100:8"
    """GPUs of each node, such as `H100:8`."""
    use_spot: bool = True
    """Take cheaper machines that may be taken away; the job goes on elsewhere."""
    bucket: Annotated[str, Field(pattern=BUCKET)] | None = None
    """Bucket that holds the runs, such as `s3://my-runs`, or `volume://NAME` for a volume of
    SkyPilot's, which several machines can share. It is needed: a new machine goes on from what is
    there."""
    image: str | None = None
    """Image of the machines; null takes SkyPilot's own."""
    disk_gb: int = Field(default=512, ge=50)
    """Disk of each node."""


class Launch(Section):
    """Where and how the processes of training and evaluation start."""

    backend: Literal["local", "slurm", "skypilot"] = "local"
    """What starts the processes: this machine (and, with `nodes`, others that run the same
    command), a Slurm cluster, or a cloud by SkyPilot."""
    nodes: int = Field(default=1, ge=1, le=1024)
    """Machines that train together."""
    gpus_per_node: int | None = Field(default=None, ge=0)
    """GPUs of each machine, where they cannot be seen from here (Slurm, SkyPilot); 0 is the CPU."""
    node_rank: int | None = Field(default=None, ge=0)
    """Which of the `nodes` this machine is, from 0, where no cluster says so. Number 0 leads."""
    rendezvous: Annotated[str, Field(pattern=ADDRESS)] | None = None
    """Address `host:port` of machine 0, at which the machines meet."""
    rendezvous_backend: Literal["static", "c10d"] = "c10d"
    """How torchrun's agents meet: `static` by the numbers of the machines, `c10d` by a store at the
    address."""
    interface: Name | None = None
    """Network interface that the processes talk over, such as `ib0`; null lets them choose."""
    gpus: Literal["all", "none"] | list[int] = "all"
    """GPUs of this machine: all that are visible, none (CPU), or a list of indices."""
    cpu_processes: int = Field(default=1, ge=1)
    """Processes on each machine that train, or answer benchmarks' questions, where no GPU is used.
    """
    strategy: Literal["auto", "single", "ddp", "fsdp2", "zero3"] = "auto"
    """How several processes share the work: `single` is one process on one device; `ddp` keeps the
    whole model on each; `fsdp2` and `zero3` share out weights, gradients and optimizer state
    (`zero3` by the `deepspeed` extra). `auto` is `single` for one process, else `ddp` where the
    memory plan has room for the whole training state on each device, else `fsdp2`."""
    grace_s: float = Field(default=60.0, gt=0)
    """Least seconds between the signal to stop and the kill; a large checkpoint gets more."""
    hang_after_s: float = Field(default=600.0, gt=0)
    """A training process without a step for this long, or for ten times its usual step where that
    is more, is taken to hang: its stack is kept and the stage ended (exit 78)."""
    max_restarts: int = Field(default=5, ge=0)
    """Fresh starts of a training stage after a crash or a hang. An attempt that saved no newer
    checkpoint is not repeated."""
    slurm: Slurm = Slurm()
    """Slurm."""
    skypilot: SkyPilot = SkyPilot()
    """SkyPilot."""


class Track(Section):
    """Experiment trackers, beside the run's own files."""

    to: list[Literal["wandb", "trackio", "tensorboard"]] = []
    """Trackers that get the metrics too; each needs the `track` extra."""
    project: str = "zephyrctl"
    """Project name at the tracker."""
