"""A run whose base model is a folder, so that deciding needs no network and no torch."""

from pathlib import Path

import pytest

from zephyrctl.config.schema import Recipe
from zephyrctl.runs import manifest
from zephyrctl.runs.atomic import append_jsonl, write_json
from zephyrctl.runs.manifest import Result
from zephyrctl.runs.store import Run, StageName, open_run
from zephyrctl.stages.inputs import inputs


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZEPHYRCTL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """A whole recipe with one source per data set and a question file."""
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    (base / "model.safetensors").write_text("weights")
    for name in ("dialogues", "ratings", "questions"):
        append_jsonl(tmp_path / f"{name}.jsonl", {"row": name})
    return Recipe.model_validate(
        {
            "name": "mine",
            "output_root": str(tmp_path / "runs"),
            "model": {"base": str(base)},
            "data": {
                "sft": {"train": [{"path": str(tmp_path / "dialogues.jsonl")}]},
                "dpo": {"train": [{"path": str(tmp_path / "ratings.jsonl")}]},
                "decontaminate": {"against": ["rules"]},
            },
            "eval": {"rules": {"questions": str(tmp_path / "questions.jsonl")}},
        }
    )


@pytest.fixture
def run(recipe: Recipe) -> Run:
    """The recipe's run, its stages not begun."""
    opened = open_run(recipe)
    write_json(opened.config_path, recipe.model_dump(mode="json"))
    write_json(opened.root / "manifest.json", {"run": "mine"})
    return opened


def begin_stage(run: Run, recipe: Recipe, stage: StageName) -> None:
    """What the worker does first."""
    folder = run.stage(stage)
    manifest.begin(folder, inputs=inputs(stage, recipe, run), seed=recipe.seed, world_size=1)


def finish_stage(run: Run, recipe: Recipe, stage: StageName, *, content: str = "made") -> None:
    """A finished stage, with outputs in the places where the real one has them."""
    begin_stage(run, recipe, stage)
    folder = run.stage(stage)
    names = {"data": ["sft/train.parquet", "dpo/train.parquet"], "eval": ["scores.json"]}
    made = [folder.path / name for name in names.get(stage, ["model/config.json"])]
    for path in made:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    manifest.finish(folder, Result({}, [folder.model] if stage in ("sft", "dpo") else made))
