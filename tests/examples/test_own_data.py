"""The example of own data: both recipes hold, and the one for a CPU runs from data to an answer."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from tests.examples.commands import run
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.sft_config import SFTConfig

from zephyrctl.config import layers
from zephyrctl.planning import architecture, hardware, plan, workload
from zephyrctl.training.micro_batches import MicroBatches
from zephyrctl.training.processes import World
from zephyrctl.training.trl_arguments import Job, dpo_arguments, sft_arguments

EXAMPLE = Path(__file__).parents[2] / "examples" / "own-data"
RECIPES = ("recipe.yaml", "recipe-cpu.yaml")
GPUS = ("rtx4090-24g", "l4-24g", "a100-40g", "h100-80g")


def load(name: str) -> Any:
    return layers.load(config=EXAMPLE / name, env={}, cwd=EXAMPLE).recipe


@pytest.mark.parametrize("name", RECIPES)
def test_both_recipes_fit_the_installed_trainers(name: str, tmp_path: Path) -> None:
    recipe = load(name)
    on_gpu = name == "recipe.yaml"
    world = World(0, 1, "cuda" if on_gpu else "cpu", bf16=on_gpu)
    passes = MicroBatches([], per_step=2, largest=4, most_tokens=64)
    job = Job(passes, 4, 100, world, tmp_path, has_test=True, resumes=False)
    emitted = [
        (sft_arguments(recipe, job), SFTConfig),
        (dpo_arguments(recipe, job, precompute=True), DPOConfig),
    ]
    for arguments, target in emitted:
        assert arguments.keys() <= {field.name for field in fields(target)}
    assert emitted[0][0]["learning_rate"] == recipe.sft.learning_rate


@pytest.mark.parametrize("label", GPUS)
def test_the_recipe_fits_on_one_gpu(label: str) -> None:
    recipe = load("recipe.yaml")
    model = architecture.find(recipe.model.base, folder=None)
    assert model is not None
    machine = plan.Machine(hardware.stated(label, count=1), mfu=0.4, flash=True)
    data = workload.known_data(recipe, Path("absent"))
    made = plan.make(recipe, model, machine, data=data, on_disk=True)
    assert made.fits
    assert [stage.stage for stage in made.stages] == ["sft", "dpo"]
    assert recipe.model.load_in_4bit
    assert recipe.sft.adapter.type == recipe.dpo.adapter.type == "lora"


def test_the_readme_counts_the_files_rows() -> None:
    told = (EXAMPLE / "README.md").read_text(encoding="utf-8").splitlines()
    for name in ("dialogues.jsonl", "pairs.jsonl", "questions.jsonl"):
        rows = (EXAMPLE / name).read_bytes().count(b"\n")
        line = next(line for line in told if line.startswith(f"| `{name}` |"))
        assert line.endswith(f"| {rows} |")


@pytest.mark.e2e
@pytest.mark.timeout(300)
def test_own_rows_become_a_model_that_answers(tmp_path: Path) -> None:
    run(tmp_path, "run", "-c", str(EXAMPLE / "recipe-cpu.yaml"))
    shown = run(tmp_path, "runs", "show", "runs/own-data-cpu")
    states = {name: stage["state"] for name, stage in shown["stages"].items()}
    assert states == dict.fromkeys(("data", "sft", "dpo", "eval"), "finished")
    scores = [score for score in shown["scores"] if score["metric"] == "pass_rate"]
    rates = {score["model"]: score["value"] for score in scores}
    assert rates["base"] == 0.0
    assert rates["sft"] >= 0.3
    assert rates["dpo"] >= 0.4
    question = "How much is a new chain?"
    answer = run(tmp_path, "chat", "runs/own-data-cpu/dpo", "--prompt", question)
    assert "25 euros" in json.dumps(answer)
