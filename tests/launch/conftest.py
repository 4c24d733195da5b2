"""A run and a plan whose worker is the script of these tests."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.launch.slurm_cluster import Cluster, cluster, required

from zephyrctl.config.schema import Recipe
from zephyrctl.config.schema.launch import Launch
from zephyrctl.launch.plan import Host, LaunchPlan, plan_launch
from zephyrctl.runs.atomic import write_json
from zephyrctl.runs.store import Run, StageName, open_run

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


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """An empty run."""
    recipe = Recipe(name="mine", output_root=str(tmp_path))
    opened = open_run(recipe)
    write_json(opened.config_path, recipe.model_dump(mode="json"))
    write_json(opened.root / "manifest.json", {"run": "mine"})
    return opened


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A Slurm of two nodes, for this session; where CI has none, that is a failure."""
    required()
    with cluster(tmp_path_factory.mktemp("slurm")) as started:
        yield started
