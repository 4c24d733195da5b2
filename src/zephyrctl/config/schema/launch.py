"""Settings of the launch and of experiment trackers."""

from typing import Literal

from pydantic import Field

from zephyrctl.config.schema.section import Section


class Launch(Section):
    """Where and how the processes of training and evaluation start."""

    gpus: Literal["all", "none"] | list[int] = "all"
    """GPUs of this machine: all that are visible, none (CPU), or a list of indices."""
    cpu_processes: int = Field(default=1, ge=1)
    """Processes that train, or answer benchmarks' questions, where no GPU is used."""
    strategy: Literal["auto", "single", "ddp"] = "auto"
    """How several processes share the work: `single` is one process on one device; `auto` is one
    per device, in data-parallel training and with a share of the questions in evaluation."""
    grace_s: float = Field(default=60.0, gt=0)
    """Seconds between the signal to stop and the kill, for saving a checkpoint."""


class Track(Section):
    """Experiment trackers, beside the run's own files."""

    to: list[Literal["wandb", "trackio", "tensorboard"]] = []
    """Trackers that get the metrics too; each needs the `track` extra."""
    project: str = "zephyrctl"
    """Project name at the tracker."""
