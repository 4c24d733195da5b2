"""Adapters with random weights on the tiny model, and a run that published one."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from zephyrctl.config.schema import Recipe
from zephyrctl.data import template_lock
from zephyrctl.data.tokenizers import load_tokenizer
from zephyrctl.generation.weights import merged
from zephyrctl.publishing.merge import export_merged
from zephyrctl.runs import manifest
from zephyrctl.runs.manifest import Result
from zephyrctl.runs.references import ModelRef
from zephyrctl.runs.store import Run

AddAdapter = Callable[..., Path]


@pytest.fixture(scope="session")
def add_adapter(tiny_base: Path) -> AddAdapter:
    """`add_adapter(folder, below=…, scale=…, dora=…)` writes a random adapter over `below`."""

    def add(
        folder: Path, *, below: Path | None = None, scale: float = 0.02, dora: bool = False
    ) -> Path:
        torch.manual_seed(len(str(folder.name)))
        model: Any = AutoModelForCausalLM.from_pretrained(tiny_base)
        if below is not None:
            model = merged(model, below)
        config = LoraConfig(
            r=4, lora_alpha=8, target_modules="all-linear", use_dora=dora, task_type="CAUSAL_LM"
        )
        peft = get_peft_model(model, config)
        assert isinstance(peft, PeftModel)
        for name, weight in peft.named_parameters():
            if "lora_A" in name or "lora_B" in name:
                torch.nn.init.normal_(weight, std=scale**0.5)
        peft.save_pretrained(folder)
        path = folder / "adapter_config.json"
        settings = json.loads(path.read_text()) | {
            "base_model_name_or_path": str(below or tiny_base)
        }
        path.write_text(json.dumps(settings))
        (folder / "README.md").unlink()
        tokenizer = load_tokenizer(str(tiny_base), chat_template="zephyr")
        template_lock.write(
            folder, tokenizer=tokenizer, template="zephyr", stage="sft", base="tiny",
            base_digest="0" * 64, run="mine",
        )  # fmt: skip
        return folder

    return add


@pytest.fixture(scope="session")
def adapter(add_adapter: AddAdapter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One LoRA adapter on the tiny model."""
    return add_adapter(tmp_path_factory.mktemp("adapters") / "sft")


@pytest.fixture
def run(adapter: Path, tmp_path: Path) -> Run:
    """A run whose finished sft model is the adapter."""
    return make_run(tmp_path / "runs" / "mine", adapter)


@pytest.fixture(scope="session")
def merged_export(adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that such a run's sft model is merged into, once for all tests."""
    folder = tmp_path_factory.mktemp("merged")
    run = make_run(folder / "runs" / "mine", adapter)
    ref = ModelRef("sft", "stage", str(run.stage("sft").model), run=run, stage="sft")
    return export_merged(
        ref, out=folder / "out", dtype="auto", model=run.recipe().model, force=False,
        say=lambda text: None,
    ).folder  # fmt: skip


def make_run(root: Path, adapter: Path) -> Run:
    """A run at `root` whose finished sft model is the adapter."""
    root.mkdir(parents=True)
    recipe = Recipe.model_validate(
        {
            "name": "mine",
            "output_root": str(root.parent),
            "model": {"base": "tiny"},
            "data": {"sft": {"train": [{"path": "org/dialogues"}, {"path": "/home/me/x.jsonl"}]}},
            "sft": {"learning_rate": 2e-4, "adapter": {"type": "lora", "r": 4}},
            "eval": {"models": ["base", "sft"]},
        }
    )
    run = Run(root)
    run.config_path.write_text(recipe.model_dump_json(), encoding="utf-8")
    (root / "manifest.json").write_text("{}", encoding="utf-8")
    stage = run.stage("sft")
    manifest.begin(stage, inputs={"name": "mine"}, seed=0, world_size=1)
    shutil.copytree(adapter, stage.model)
    manifest.finish(stage, Result({}, [stage.model]))
    return run
