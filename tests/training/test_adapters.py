"""Adapters: alone, in a chain, merged."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from tests.training.conftest import build_run, run_stage
from transformers import AutoModelForCausalLM

from zephyrctl.errors import ConfigError, DataError, EnvironmentProblem
from zephyrctl.generation.engine import load_engine
from zephyrctl.runs.atomic import read_jsonl
from zephyrctl.runs.store import Run
from zephyrctl.training.scoring import token_losses

pytestmark = pytest.mark.train

LORA: dict[str, Any] = {"adapter": {"type": "lora", "r": 4, "dropout": 0.0}, "learning_rate": 0.02}
BIGGER: dict[str, Any] = {"adapter": {"type": "lora", "r": 6}, "learning_rate": 0.01}
DORA: dict[str, Any] = {"adapter": {"type": "dora", "r": 4}, "learning_rate": 0.01}


UNTRAINED = -79.2
"""About what the untrained model gives to a chosen answer: 12 tokens of ln 768 nats."""


def over(run: Run) -> dict[str, Any]:
    """Settings that start DPO from the adapter of `run`."""
    return {"init_from": str(run.stage("sft").path), "epochs": 2}


def published_losses(run: Any, stage: str) -> tuple[dict[str, float], dict[str, float]]:
    """Held-out losses in memory and of the loaded folder, as the stage compared them."""
    events = read_jsonl(run.stage(stage).events_path)
    found = next(event for event in events if event["event"] == "published")
    return found["in_memory"], found["loaded"]


@pytest.fixture(scope="module")
def adapter_run(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Run:
    """A run whose SFT stage trained a LoRA adapter."""
    root = tmp_path_factory.mktemp("adapter") / "runs" / "below"
    recipe, run = build_run(root, tiny_base, sft=LORA | {"epochs": 4})
    run_stage("sft", recipe, run)
    return run


def test_an_adapter_is_published_alone_and_loads_to_the_same_model(
    adapter_run: Run, tiny_base: Path
) -> None:
    stage = adapter_run.stage("sft")
    manifest = stage.read_manifest()
    assert manifest is not None
    metrics = manifest.metrics
    assert metrics["eval_loss"] < metrics["eval_loss_start"] - 1
    assert metrics["trained_parameters"] < metrics["parameters"] / 5
    assert not list(stage.model.glob("model*.safetensors"))
    assert not [path for path in stage.model.iterdir() if path.is_dir()]
    settings = json.loads((stage.model / "adapter_config.json").read_text())
    assert Path(settings["base_model_name_or_path"]) == tiny_base
    in_memory, loaded = published_losses(adapter_run, "sft")
    assert loaded == pytest.approx(in_memory, abs=1e-4)


def test_a_chain_of_adapters_is_published_as_one_that_says_the_same(
    adapter_run: Run, make_run: Any, train_dpo: Any, tiny_base: Path
) -> None:
    recipe, run = make_run(dpo=BIGGER | over(adapter_run))
    metrics = train_dpo(recipe, run).metrics
    below = adapter_run.stage("sft").read_manifest()

    assert metrics["eval_loss_start"] == pytest.approx(math.log(2), abs=1e-4)
    assert metrics["reward_accuracy"] == 1.0
    # The SFT adapter is below: the chosen answers are likely before the first step.
    assert metrics["chosen_logps_start"] > UNTRAINED / 2
    assert below is not None
    assert metrics["trained_parameters"] == below.metrics["trained_parameters"] * 6 // 4

    folder = run.stage("dpo").model
    settings = json.loads((folder / "adapter_config.json").read_text())
    assert settings["r"] == 10
    assert Path(settings["base_model_name_or_path"]) == tiny_base
    assert not [path for path in folder.iterdir() if path.is_dir()]
    in_memory, loaded = published_losses(run, "dpo")
    assert loaded == pytest.approx(in_memory, abs=1e-4)

    # Any reader of PEFT folders gets the same model, and so does our own engine.
    base = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    documents = [([5, 9, 40, 41, 42], [5, 9, 40, 41, 42])]
    alone = token_losses(PeftModel.from_pretrained(base, folder), documents)[0]
    engine = load_engine(str(folder), dtype="float32", device="cpu")
    assert token_losses(engine.model, documents)[0] == pytest.approx(alone, abs=1e-3)


def test_weights_can_be_trained_from_an_adapter(
    adapter_run: Run, make_run: Any, train_dpo: Any
) -> None:
    recipe, run = make_run(dpo=over(adapter_run))
    metrics = train_dpo(recipe, run).metrics
    assert metrics["trained_parameters"] == metrics["parameters"]
    assert metrics["chosen_logps_start"] > UNTRAINED / 2
    assert (run.stage("dpo").model / "model.safetensors").is_file()


def test_dora_over_an_adapter_is_merged(adapter_run: Run, make_run: Any, train_dpo: Any) -> None:
    recipe, run = make_run(dpo=DORA | over(adapter_run))
    metrics = train_dpo(recipe, run).metrics
    assert metrics["eval_loss_start"] == pytest.approx(math.log(2), abs=1e-4)
    assert metrics["chosen_logps_start"] > UNTRAINED / 2
    folder = run.stage("dpo").model
    assert (folder / "model.safetensors").is_file()
    assert not (folder / "adapter_config.json").exists()
    in_memory, loaded = published_losses(run, "dpo")
    assert loaded == pytest.approx(in_memory, abs=1e-3)


def test_dora_over_weights(make_run: Any, train_dpo: Any, tiny_base: Path) -> None:
    recipe, run = make_run(dpo=DORA | {"init_from": "base"})
    metrics = train_dpo(recipe, run).metrics
    assert metrics["eval_loss_start"] == pytest.approx(math.log(2), abs=1e-4)
    assert metrics["chosen_logps_start"] == pytest.approx(UNTRAINED, abs=10)
    settings = json.loads((run.stage("dpo").model / "adapter_config.json").read_text())
    assert settings["use_dora"]
    assert Path(settings["base_model_name_or_path"]) == tiny_base


@pytest.mark.parametrize(
    ("sections", "error", "message"),
    [
        ({"sft": {"adapter": {"type": "lora", "target_modules": ["qproj"]}}}, ConfigError,
         "no linear layer named qproj"),
        ({"sft": {"adapter": {"type": "lora", "target_modules": ["lm_head"]}}}, ConfigError,
         "lm_head would never be trained"),
        ({"sft": {"adapter": {"type": "lora"}, "trainable_layers": 1}}, ConfigError,
         "exclude each other"),
        ({"sft": {"trainable_layers": 7}}, ConfigError, "3 decoder layers, not 7"),
        ({"sft": {"max_length": 4096}}, ConfigError, "over the model's 1024 positions"),
        ({"model": {"dtype": "bfloat16"}}, ConfigError, "loses most of its updates to rounding"),
        ({"model": {"load_in_4bit": True}}, ConfigError, "cannot be trained themselves"),
        ({"model": {"load_in_4bit": True}, "sft": {"adapter": {"type": "lora"}}},
         EnvironmentProblem, "4-bit weights need a GPU"),
    ],
)  # fmt: skip
def test_settings_that_cannot_train(
    make_run: Any, train_sft: Any, sections: dict[str, Any], error: Any, message: str
) -> None:
    recipe, run = make_run(**sections)
    with pytest.raises(error, match=message):
        train_sft(recipe, run)


def test_an_adapter_on_other_weights_is_refused(
    adapter_run: Run, make_run: Any, train_dpo: Any, tmp_path: Path, tiny_base: Path
) -> None:
    copied = tmp_path / "adapter"
    shutil.copytree(adapter_run.stage("sft").model, copied)
    other = tmp_path / "other"
    shutil.copytree(tiny_base, other)
    weights = load_file(other / "model.safetensors")
    weights["model.norm.weight"][0] = 2.0
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    settings = json.loads((copied / "adapter_config.json").read_text())
    settings["base_model_name_or_path"] = str(other)
    (copied / "adapter_config.json").write_text(json.dumps(settings))
    recipe, run = make_run(dpo=BIGGER | {"init_from": str(copied)})
    with pytest.raises(DataError, match="trained on other weights"):
        train_dpo(recipe, run)
