"""Each family of bases through both stages, out of the published folder and back."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file
from tests.training import families
from tests.training.conftest import build_run, run_stage
from transformers import AutoModelForCausalLM, AutoTokenizer

from zephyrctl.config.schema.model import Adapter
from zephyrctl.data.messages import Message
from zephyrctl.errors import ConfigError
from zephyrctl.generation.engine import load_engine
from zephyrctl.generation.sampling import Sampling
from zephyrctl.runs.atomic import read_jsonl
from zephyrctl.runs.metrics import notices
from zephyrctl.runs.store import Run
from zephyrctl.training import adapter_targets, experts

pytestmark = pytest.mark.train

LORA: dict[str, Any] = {"adapter": {"type": "lora", "r": 4, "dropout": 0.0}}
STEPS: dict[str, Any] = {"max_steps": 2, "learning_rate": 3e-3}
QUESTIONS = ("Please give Amir some fruit.", "Dear Hana?")
ROUTED = 0.02
"""Weight of the router loss of the tests' Mixtral."""

Base = Callable[[str], Path]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Base:
    """The folder of a family by its name, built once."""
    root = tmp_path_factory.mktemp("families")

    def folder(name: str) -> Path:
        path = root / name
        return path if path.exists() else families.build(path, name, tokenizer_of=tiny_base)

    return folder


@pytest.mark.parametrize("name", ["llama", "gemma2", "falcon-alibi", "smollm3", "mixtral", "mamba"])
def test_the_weights_of_a_family_are_trained_published_and_read_by_others(
    name: str, base: Base, tmp_path: Path
) -> None:
    recipe, run = build_run(tmp_path / "runs" / "t", base(name), sft=STEPS, dpo=STEPS)
    check_both_stages(recipe, run)
    before = load_file(base(name) / "model.safetensors")
    after = load_file(run.stage("dpo").model / "model.safetensors")
    assert after.keys() == before.keys()  # tied weights are written once
    assert [key for key in after if torch.equal(after[key], before[key])] == []
    config = [json.loads((f / "config.json").read_text()) for f in (base(name), _model(run))]
    assert config[1] == config[0]


@pytest.mark.parametrize(
    "name",
    [
        "mistral", "qwen2", "qwen3", "gemma", "gemma3", "falcon", "phi", "phi3", "mixtral",
        "falcon-mamba",
    ],
)  # fmt: skip
def test_adapters_of_a_family_are_trained_joined_and_read_by_others(
    name: str, base: Base, tmp_path: Path
) -> None:
    recipe, run = build_run(tmp_path / "runs" / "t", base(name), sft=STEPS | LORA, dpo=STEPS | LORA)
    check_both_stages(recipe, run)
    for stage in ("sft", "dpo"):
        adapter = load_file(run.stage(stage).model / "adapter_model.safetensors")
        outer = {key: weight for key, weight in adapter.items() if ".lora_B." in key}
        targets = {key.removesuffix(".lora_B.weight").rpartition(".")[2] for key in outer}
        assert targets == families.FAMILIES[name].targets
        assert [key for key, weight in outer.items() if not weight.any()] == []
    said = notices(run.stage("sft").metrics_path)
    unreached = [text for text in said if text.startswith("no adapter on")]
    assert len(unreached) == (name in ("mixtral", "falcon-mamba"))


def check_both_stages(recipe: Any, run: Run) -> None:
    """Train both stages and read what they published."""
    sft, dpo = (run_stage(stage, recipe, run).metrics for stage in ("sft", "dpo"))
    assert sft["eval_loss"] < sft["eval_loss_start"]
    assert dpo["eval_loss_start"] == pytest.approx(math.log(2), abs=1e-5)
    assert dpo["reward_margin"] > 0
    padded = any(word in recipe.model.base for word in ("falcon", "mamba"))
    for stage in ("sft", "dpo"):
        check_what_was_published(run, stage)
        said = notices(run.root / stage / "metrics.jsonl")
        assert any(text.startswith("examples are padded") for text in said) == padded
    folder = run.stage("dpo").model
    assert greedy_by_transformers(folder) == greedy_by_us(folder)


def check_what_was_published(run: Run, stage: Any) -> None:
    """The folder holds what was trained, ends its answers, and keeps no trace of training."""
    folder = run.stage(stage).model
    events = read_jsonl(run.stage(stage).events_path)
    found = next(event for event in events if event["event"] == "published")
    assert found["loaded"] == pytest.approx(found["in_memory"], abs=1e-4)
    texts = [path.read_text(encoding="utf-8") for path in folder.glob("*.json")]
    assert not [text for text in texts if "zephyrctl_varlen" in text]
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == 1


def greedy_by_transformers(folder: Path) -> list[str]:
    """Answers of a reader that knows nothing of this program, one at a time."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    answers: list[str] = []
    for question in QUESTIONS:
        asked = tokenizer.apply_chat_template(
            [{"role": "user", "content": question}],
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
        )
        made = model.generate(**asked, max_new_tokens=8, do_sample=False)
        new = made[0, asked["input_ids"].shape[1] :]
        answers.append(tokenizer.decode(new, skip_special_tokens=True).strip())
    return answers


def greedy_by_us(folder: Path) -> list[str]:
    """Answers of our own engine, in one batch."""
    engine = load_engine(str(folder), dtype="float32", device="cpu")
    found = engine.answer(
        [[Message("user", question)] for question in QUESTIONS],
        sampling=Sampling(temperature=0.0, max_new_tokens=8),
        batch_size=2,
    )
    return [answer.text.strip() for answer in found]


def test_the_experts_shared_load_is_in_the_metrics_and_in_the_loss(
    base: Base, tmp_path: Path
) -> None:
    first: dict[tuple[str, float], dict[str, float]] = {}
    for weight in (0.0, ROUTED):
        arguments = {"trainer_args": {"router_aux_loss_coef": weight}}
        settings = STEPS | {"max_steps": 1} | arguments
        recipe, run = build_run(
            tmp_path / "runs" / f"{weight}", base("mixtral"), sft=settings,
            dpo=settings | {"init_from": "base"},
        )  # fmt: skip
        for stage in ("sft", "dpo"):
            run_stage(stage, recipe, run)
            records = read_jsonl(run.stage(stage).metrics_path)
            trained = [r for r in records if r["kind"] == "metrics" and r["split"] == "train"]
            first[stage, weight] = trained[0]["values"]
    for stage in ("sft", "dpo"):
        assert "aux_loss" not in first[stage, 0.0]
        balance = first[stage, ROUTED]["aux_loss"]
        assert balance > 1  # the number of experts per token where all are used alike
        added = first[stage, ROUTED]["loss"] - first[stage, 0.0]["loss"]
        assert added == pytest.approx(ROUTED * balance, abs=1e-5)


def test_experts_get_an_adapter_where_they_are_named(base: Base, tmp_path: Path) -> None:
    named = {"target_modules": ["q_proj", "experts.gate_up_proj", "experts.down_proj"]}
    lora = STEPS | {"adapter": LORA["adapter"] | named}
    recipe, run = build_run(tmp_path / "runs" / "t", base("mixtral"), sft=lora, dpo=lora)
    check_both_stages(recipe, run)
    adapter = load_file(run.stage("sft").model / "adapter_model.safetensors")
    outer = {key: weight for key, weight in adapter.items() if ".lora_B." in key}
    assert len([key for key in outer if ".experts." in key]) == 4  # two matrices, two layers
    assert [key for key, weight in outer.items() if not weight.any()] == []
    assert not [n for n in notices(run.stage("sft").metrics_path) if n.startswith("no adapter")]


def targets_of(name: str, **settings: Any) -> adapter_targets.Targets:
    """What the adapter settings reach in a family."""
    model = AutoModelForCausalLM.from_config(families.FAMILIES[name].config())
    return adapter_targets.choose(model, Adapter(type="lora", **settings), where="sft")


@pytest.mark.parametrize("name", families.FAMILIES)
def test_all_linear_reaches_what_computes_with_its_input(name: str) -> None:
    found = targets_of(name)
    assert set(found.modules) == families.FAMILIES[name].targets
    assert found.parameters == []


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("phi", {"target_modules": ["fc3"]}, "no linear layer named fc3"),
        ("phi", {"target_modules": []}, "target_modules is empty"),
        ("phi", {"target_modules": ["lm_head"]}, "no linear layer named lm_head"),
        ("mamba", {"target_modules": ["in_proj", "x_proj"]}, "adapter on x_proj would never"),
        ("mixtral", {"target_modules": ["w1"]}, "no linear layer named w1"),
        ("mixtral", {"target_modules": ["experts.down_proj"]}, "no input that dropout"),
    ],
)
def test_targets_that_cannot_be_trained_are_refused(
    name: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        targets_of(name, **settings)
    assert caught.value.hint


def test_routers_get_an_adapter_only_where_they_are_named() -> None:
    config = transformers.Qwen2MoeConfig(
        **families.SIZES, **families.GROUPED, num_experts=4, num_experts_per_tok=2,
        moe_intermediate_size=16, shared_expert_intermediate_size=16,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config)
    found = adapter_targets.choose(model, Adapter(type="lora"), where="sft")
    assert set(found.modules) == set(families.GATED.split())  # the shared expert's are linear
    assert any("routers (shared_expert_gate)" in text for text in found.notices)
    named = Adapter(type="lora", target_modules=["shared_expert_gate"])
    assert adapter_targets.choose(model, named, where="sft").modules == ["shared_expert_gate"]
    # Mixtral's router is no layer: its weight is named in full.
    asked = targets_of("mixtral", target_modules=["q_proj", "gate.weight"], dropout=0.0)
    assert asked.parameters == ["gate.weight"]


def test_what_4bit_loading_leaves_as_it_is_is_counted() -> None:
    model = AutoModelForCausalLM.from_config(families.FAMILIES["mixtral"].config())
    weights = 2 * 4 * (96 * 32 + 32 * 48)  # layers, experts, two matrices each
    assert f"their {weights:,} weights" in str(experts.beyond_4bit(model))
    dense = AutoModelForCausalLM.from_config(families.FAMILIES["mistral"].config())
    assert experts.beyond_4bit(dense) is None


def _model(run: Run) -> Path:
    return run.stage("dpo").model
