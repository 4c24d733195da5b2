"""A published preference model that is not the trained one: the stage fails and publishes nothing.

It is read back from the disk, so what is changed here are its files.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.training.conftest import build_run, run_stage

from zephyrctl.errors import JobFailed
from zephyrctl.runs.atomic import read_jsonl
from zephyrctl.runs.store import Run
from zephyrctl.training import publish

pytestmark = pytest.mark.train

LORA: dict[str, Any] = {"adapter": {"type": "lora", "r": 4, "dropout": 0.0}, "learning_rate": 0.02}
CASES = [
    ({"loss": "simpo", "beta": 2.0}, "model.layers.0.mlp.down_proj.weight"),
    ({"loss": "rdpo", "reference": "adapter"}, "lora_B"),
]


@pytest.fixture(scope="module")
def adapter_run(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Run:
    """A run whose SFT stage trained a LoRA adapter."""
    root = tmp_path_factory.mktemp("adapter") / "runs" / "below"
    recipe, run = build_run(root, tiny_base, sft=LORA | {"epochs": 2})
    run_stage("sft", recipe, run)
    return run


def settings_of(case: dict[str, Any], changed: str, below: Run) -> dict[str, Any]:
    if changed.startswith("lora"):
        return LORA | case | {"init_from": str(below.stage("sft").path), "max_steps": 2}
    return case | {"init_from": "base", "max_steps": 2}


def spoil(folder: Path, changed: str) -> None:
    """Multiply the weights of this name in the published file."""
    [file] = folder.glob("*.safetensors")
    weights = load_file(file)
    names = [name for name in weights if changed in name]
    assert names
    for name in names:
        weights[name] = torch.flip(weights[name], dims=[0]) * 3
    save_file(weights, file, metadata={"format": "pt"})


@pytest.mark.parametrize(("case", "changed"), CASES, ids=["weights", "chain"])
def test_changed_weights_are_not_published(
    make_run: Any,
    train_dpo: Any,
    adapter_run: Run,
    monkeypatch: pytest.MonkeyPatch,
    case: dict[str, Any],
    changed: str,
) -> None:
    written = publish._write_weights

    def write(policy: Any, folder: Path, **options: Any) -> None:
        written(policy, folder, **options)
        spoil(folder, changed)

    recipe, run = make_run(dpo=settings_of(case, changed, adapter_run))
    with monkeypatch.context() as patch:
        patch.setattr(publish, "_write_weights", write)
        with pytest.raises(JobFailed, match="the published model is not the trained one"):
            train_dpo(recipe, run)
    assert not run.stage("dpo").model.exists()
    assert not list(run.stage("dpo").path.glob(".model*"))


@pytest.mark.parametrize(
    ("case", "name"),
    [
        ({"loss": ["ipo", "sft"], "loss_weights": [1.0, 0.2]}, "DPO loss"),
        ({"trainer_args": {"ld_alpha": 0.3, "use_weighting": True}}, "DPO loss"),
    ],
)
def test_the_published_model_says_what_the_trained_one_said(
    make_run: Any, train_dpo: Any, adapter_run: Run, case: dict[str, Any], name: str
) -> None:
    recipe, run = make_run(dpo=settings_of(case, "lora", adapter_run))
    train_dpo(recipe, run)
    events = read_jsonl(run.stage("dpo").events_path)
    found = next(event for event in events if event["event"] == "published")
    assert set(found["in_memory"]) == {name, "chosen loss per token", "rejected loss per token"}
    assert found["loaded"] == pytest.approx(found["in_memory"], abs=1e-4)
