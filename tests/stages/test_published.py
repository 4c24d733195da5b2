"""What a stage says of the recipe it leaves, and which figures it then compares."""

import json
from pathlib import Path

from zephyrctl.config.layers import load
from zephyrctl.runs.metrics import notices
from zephyrctl.runs.store import Run
from zephyrctl.stages import published


def settled(tmp_path: Path, *sets: str):
    run = Run(tmp_path)
    source = {"source": "recipe zephyr-7b"}
    (tmp_path / "manifest.json").write_text(json.dumps(source), encoding="utf-8")
    recipe = load(recipe="zephyr-7b", sets=sets, env={}).recipe
    return recipe, published.settle(recipe, run, stage="dpo"), run


def test_a_recipe_as_packaged_is_run_as_it_is_and_nothing_is_said(tmp_path):
    recipe, to_run, run = settled(tmp_path)
    assert to_run == recipe
    assert notices(run.stage("dpo").metrics_path) == []


def test_a_change_is_said_and_figures_of_another_loss_are_left_out(tmp_path):
    recipe, to_run, run = settled(tmp_path, "dpo.beta=0.1", "sft.packing=none")
    assert to_run.dpo == recipe.dpo.model_copy(update={"expected": {}, "canaries": []})
    assert to_run.sft == recipe.sft
    said = notices(run.stage("dpo").metrics_path)
    assert len(said) == 2
    assert said[0].startswith("dpo.beta is 0.1, recipe zephyr-7b says 0.01")
    assert said[1].endswith("not compared with: dpo.beta is not its own")
