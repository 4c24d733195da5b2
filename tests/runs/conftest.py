"""A run directory as a command leaves it."""

from pathlib import Path

import pytest

from zephyrctl.config.schema import Recipe
from zephyrctl.runs import manifest
from zephyrctl.runs.atomic import write_json
from zephyrctl.runs.manifest import Result
from zephyrctl.runs.store import Run, StageName, open_run


def make_run(root: Path, name: str, *, updated: str = "2026-01-01T00:00:00+00:00") -> Run:
    recipe = Recipe(name=name, output_root=str(root))
    run = open_run(recipe)
    write_json(run.config_path, recipe.model_dump(mode="json"))
    write_json(run.root / "manifest.json", {"run": name, "updated": updated})
    return run


def finish_stage(run: Run, stage: StageName) -> None:
    folder = run.stage(stage)
    manifest.begin(folder, inputs={}, seed=1, world_size=1)
    folder.model.mkdir()
    (folder.model / "config.json").write_text("{}")
    manifest.finish(folder, Result({}, [folder.model]))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """An empty run called `mine`."""
    return make_run(tmp_path / "runs", "mine")
