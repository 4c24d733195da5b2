"""The Slurm example submits what its README shows."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from zephyrctl.config import layers
from zephyrctl.environment import Gpu
from zephyrctl.launch import slurm
from zephyrctl.launch.plan import Host, plan_launch
from zephyrctl.launch.slurm.submission import gpus_per_node
from zephyrctl.runs.store import STAGES, Run

EXAMPLE = Path(__file__).parents[2] / "examples" / "slurm"
README = (EXAMPLE / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def submitted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What `--print-launch` prints for each stage, its paths written as in the README."""
    folder = tmp_path_factory.mktemp("here")
    done = subprocess.run(
        [sys.executable, "-m", "zephyrctl", "run", "-c", EXAMPLE / "recipe.yaml", "--print-launch"],
        cwd=folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "ZEPHYRCTL_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    shown = done.stdout
    for path, name in (
        (str(folder / "runs" / "zephyr-7b-slurm"), "RUN"),
        (str(folder), "HERE"),
        (sys.executable, "PYTHON"),
        (str(Path(slurm.__file__).parents[2]), "PACKAGE"),
    ):
        shown = shown.replace(path, name)
    return dict(zip(STAGES, shown.splitlines(), strict=True))


def test_the_readme_shows_the_job_of_sft(submitted: dict[str, str]) -> None:
    block = next(text for text in README.split("```") if text.startswith("\nsbatch"))
    told = " ".join(block.replace("\\\n", " ").split())
    assert told == submitted["sft"]


@pytest.mark.parametrize("stage", STAGES)
def test_the_readme_tells_nodes_and_gpus_of_each_stage(
    submitted: dict[str, str], stage: str
) -> None:
    row = re.search(rf"^\| {stage} \| (\d+) \| (\w+) \|", README, re.MULTILINE)
    assert row is not None
    gpus = re.search(r"--gpus-per-node=(\d+)", submitted[stage])
    assert f"--nodes={row[1]} " in submitted[stage]
    assert row[2] == (gpus[1] if gpus else "none")


def test_each_node_of_the_example_starts_a_process_for_each_gpu() -> None:
    launch = layers.load(config=EXAMPLE / "recipe.yaml", env={}, cwd=EXAMPLE).recipe.launch
    gpus = [
        Gpu(index=i, uuid=f"{i}", name="H100", memory_mib=81920, free_mib=81000, capability="9.0")
        for i in range(8)
    ]
    for rank in (0, 1):
        node = Host(gpus=gpus, cores=96, rank=rank, rendezvous="node03:29400")
        plan = plan_launch(Run(Path("/shared/runs/mine")), "sft", launch, host=node)
        assert (plan.nodes, plan.processes, plan.node) == (2, 8, rank)
        assert gpus_per_node(plan, launch) == plan.processes
        assert "node03:29400" in plan.argv
