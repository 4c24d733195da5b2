"""Is there a Slurm cluster to submit to from here, and does it have what the recipe names?"""

from __future__ import annotations

from zephyrctl.cli.doctor_machine import Finding
from zephyrctl.config.schema import Recipe
from zephyrctl.launch.slurm.cluster import Cluster, ask, is_here

_NAME = "slurm"
_MOST = 6


def check_machine() -> list[Finding]:
    """A line where sbatch is here; nothing elsewhere."""
    if not is_here():
        return []
    cluster = ask()
    if isinstance(cluster, str):
        return [Finding(_NAME, "warning", f"sbatch is here, but {cluster}", "scontrol ping")]
    return [Finding(_NAME, "ok", _in_words(cluster))]


def check(recipe: Recipe) -> list[Finding]:
    """Whether the cluster can take the recipe's jobs; nothing where it asks for none."""
    if recipe.launch.backend != "slurm":
        return []
    if not is_here():
        text = "launch.backend is slurm, and sbatch is not on this machine"
        return [Finding(_NAME, "problem", text, "--set launch.backend=local")]
    cluster = ask()
    if isinstance(cluster, str):
        text = f"launch.backend is slurm, but {cluster}"
        return [Finding(_NAME, "problem", text, "scontrol ping")]
    return [*_partition(recipe, cluster), *_gpus(recipe)]


def _partition(recipe: Recipe, cluster: Cluster) -> list[Finding]:
    wanted = recipe.launch.slurm.partition
    chosen = [p for p in cluster.partitions if (p.default if wanted is None else p.name == wanted)]
    if not chosen:
        what = "a default partition" if wanted is None else f"a partition {wanted}"
        names = ", ".join(partition.name for partition in cluster.partitions)
        remedy = f"launch.slurm.partition: one of {names}"
        return [Finding("partition", "problem", f"the cluster has not {what}", remedy)]
    partition = chosen[0]
    text = f"jobs go to {partition.in_words()}"
    if not partition.up:
        return [Finding("partition", "problem", text, "choose another launch.slurm.partition")]
    if partition.nodes < recipe.launch.nodes:
        text = f"launch.nodes is {recipe.launch.nodes}; {partition.in_words()}"
        return [Finding("partition", "problem", text, "--set launch.nodes=FEWER")]
    return [Finding("partition", "ok", text)]


def _gpus(recipe: Recipe) -> list[Finding]:
    launch = recipe.launch
    if launch.gpus_per_node is None and launch.gpus == "all":
        text = "the GPUs of the cluster's nodes cannot be seen from here"
        return [Finding("gpus per node", "problem", text, "set launch.gpus_per_node")]
    return []


def _in_words(cluster: Cluster) -> str:
    shown = [partition.in_words() for partition in cluster.partitions[:_MOST]]
    more = len(cluster.partitions) - _MOST
    tail = f", and {more} more" if more > 0 else ""
    return f"{cluster.version}: {', '.join(shown)}{tail}"
