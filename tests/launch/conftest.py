"""A run, and a cluster."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.launch.slurm_cluster import Cluster, cluster, required

from zephyrctl.config.schema import Recipe
from zephyrctl.runs.atomic import write_json
from zephyrctl.runs.store import Run, open_run


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
