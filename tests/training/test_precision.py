"""Which number formats a stage trains, keeps in its checkpoints and publishes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from tests.training.conftest import build_run, run_stage
from transformers import AutoModelForCausalLM, Trainer

from zephyrctl.errors import ConfigError, EnvironmentProblem
from zephyrctl.runs.atomic import read_jsonl
from zephyrctl.runs.store import Run, StageDir
from zephyrctl.training import session
from zephyrctl.training.loading import TRAINED, Policy, formats_stay

pytestmark = pytest.mark.train

BF16: dict[str, Any] = {
    "optimizer": "adamw_bf16", "micro_batch_size": 2, "epochs": 3, "save_every": 2,
    "weight_decay": 0.01,
}  # fmt: skip
LORA: dict[str, Any] = {"type": "lora", "r": 4}


def published(run: Run, stage: str) -> tuple[dict[str, float], dict[str, float]]:
    """Held-out losses in memory and of the loaded folder, as the stage compared them."""
    events = read_jsonl(run.stage(stage).events_path)  # type: ignore[arg-type]
    found = next(event for event in events if event["event"] == "published")
    return found["in_memory"], found["loaded"]


def weights_of(stage: StageDir) -> dict[str, torch.Tensor]:
    return load_file(next(stage.model.glob("*model.safetensors")))


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Run:
    """Both stages in bfloat16 weights, without an interruption."""
    root = tmp_path_factory.mktemp("bf16") / "straight"
    recipe, run = build_run(root, tiny_base, sft=BF16, dpo=BF16 | {"learning_rate": 1e-4})
    run_stage("sft", recipe, run)
    run_stage("dpo", recipe, run)
    return run


@pytest.mark.parametrize("name", ["sft", "dpo"])
def test_bf16_weights_learn_and_are_published_as_they_are(straight: Run, name: str) -> None:
    stage = straight.stage(name)  # type: ignore[arg-type]
    manifest = stage.read_manifest()
    assert manifest is not None
    assert manifest.metrics["eval_loss"] < manifest.metrics["eval_loss_start"]
    assert {weight.dtype for weight in weights_of(stage).values()} == {torch.bfloat16}
    in_memory, loaded = published(straight, name)
    # The loaded model scores its rows in batches of other shapes.
    assert loaded == pytest.approx(in_memory, abs=2e-3)
    assert any("(100.0 %) in bfloat16" in text for text in manifest.notices)


def test_a_killed_training_of_bf16_weights_goes_on_bit_by_bit(
    straight: Run, make_run: Any, drill: Any
) -> None:
    _, run = make_run("straight", sft=BF16, dpo=BF16 | {"learning_rate": 1e-4})
    stage = run.stage("sft")
    assert drill(run, "sft", fault="step=5:kill") == [-9]
    saved = load_file(stage.checkpoints / "checkpoint-4" / "trained.safetensors")
    assert {weight.dtype for weight in saved.values()} == {torch.bfloat16}
    state = torch.load(stage.checkpoints / "checkpoint-4" / "optimizer.pt", weights_only=True)
    assert {state["state"][0][key].dtype for key in ("exp_avg", "exp_avg_sq")} == {torch.bfloat16}
    assert drill(run, "sft") == [0]

    expected, found = weights_of(straight.stage("sft")), weights_of(stage)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_the_micro_batches_of_a_step_change_bf16_training_by_rounding_only(
    straight: Run, make_run: Any, train_sft: Any
) -> None:
    recipe, run = make_run("straight", sft=BF16 | {"micro_batch_size": 4})
    train_sft(recipe, run)
    losses = [
        [r["values"]["loss"] for r in read_jsonl(s.metrics_path) if r.get("split") == "train"]
        for s in (straight.stage("sft"), run.stage("sft"))
    ]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_two_processes_sum_gradients_once_per_step_and_hold_the_same_bf16_weights(
    make_run: Any, drill: Any, tmp_path: Path
) -> None:
    _, run = make_run("pair", sft=BF16 | {"micro_batch_size": 1, "max_steps": 3})
    assert drill(run, "sft", ranks=2, ZEPHYRCTL_TEST_SYNC=str(tmp_path)) == [0, 0]
    steps = []
    for rank in (0, 1):
        lines = (tmp_path / f"rank{rank}").read_text().splitlines()
        ends = [i for i, line in enumerate(lines) if line.startswith("step")]
        assert len(ends) == 3
        begins = [0, *(end + 1 for end in ends)]
        for begin, end in zip(begins, ends, strict=False):
            done = lines[begin:end]
            buckets = [line for line in done if line.startswith("reduce")]
            assert done[:2] == ["pass", "pass"]  # 4 examples, 2 processes, 1 at once
            assert done[2:] == buckets
            assert len(buckets) == len(set(buckets)) > 0
        steps.append([lines[end] for end in ends])
    assert steps[0] == steps[1]
    assert len(set(steps[0])) == 3


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_adapters_over_bf16_weights_are_trained_and_kept_in_float32(
    make_run: Any, train_sft: Any, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    recipe, run = make_run(
        "over", model={"dtype": "bfloat16"}, sft={"adapter": LORA | {"type": kind}}
    )
    seen: list[set[torch.dtype]] = []
    built = session._build

    def watched(method: Any, plan: Any) -> Any:
        trainer = built(method, plan)
        model = plan.policy.model
        seen.append({w.dtype for w in model.parameters() if w.requires_grad})
        seen.append({w.dtype for w in model.parameters() if not w.requires_grad})
        return trainer

    monkeypatch.setattr(session, "_build", watched)
    train_sft(recipe, run)
    assert seen == [{torch.float32}, {torch.bfloat16}]
    assert {w.dtype for w in weights_of(run.stage("sft")).values()} == {torch.float32}


def test_trls_cast_of_the_adapters_of_a_4_bit_model_is_undone(
    make_run: Any, monkeypatch: pytest.MonkeyPatch, train_sft: Any
) -> None:
    # The attribute is all that TRL 1.16 asks before it casts; 4-bit weights need a GPU.
    recipe, run = make_run("four", model={"dtype": "bfloat16"}, sft={"adapter": LORA})
    inside: list[set[torch.dtype]] = []
    built, started = session._build, Trainer.__init__

    def four_bit(method: Any, plan: Any) -> Any:
        model = plan.policy.model
        model.is_loaded_in_4bit = True

        def recording(self: Any, *own: Any, **keys: Any) -> None:
            inside.append({w.dtype for w in model.parameters() if w.requires_grad})
            del model.is_loaded_in_4bit
            started(self, *own, **keys)

        monkeypatch.setattr(Trainer, "__init__", recording)
        return built(method, plan)

    monkeypatch.setattr(session, "_build", four_bit)
    train_sft(recipe, run)
    assert inside == [{torch.bfloat16}]  # what TRL would have trained
    assert {w.dtype for w in weights_of(run.stage("sft")).values()} == {torch.float32}


def test_formats_come_back_with_the_values_they_had(tiny_base: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.bfloat16)
    peft = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear"), TRAINED)
    policy = Policy(model, peft, "adapter", None, 1, 1)  # type: ignore[arg-type]
    trained = [w for w in model.parameters() if w.requires_grad]
    before = [w.detach().clone() for w in trained]
    with formats_stay(policy):
        for weight in trained:
            weight.data = weight.data.bfloat16()
    assert all(torch.equal(w, old) for w, old in zip(trained, before, strict=True))


def test_full_training_over_an_adapter_rounds_the_merged_weights_once(
    make_run: Any, train_sft: Any, train_dpo: Any
) -> None:
    adapter = {"adapter": LORA, "learning_rate": 0.02}
    recipe, run = make_run("merged", sft=adapter, dpo={"optimizer": "adamw_bf16", "max_steps": 1})
    train_sft(recipe, run)
    train_dpo(recipe, run)
    assert {w.dtype for w in weights_of(run.stage("dpo")).values()} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("model", "sft", "kind", "message"),
    [
        ({"dtype": "bfloat16"}, {"optimizer": "adamw"}, ConfigError, "loses most of its updates"),
        ({}, {"optimizer": "adamw_bf16", "adapter": LORA}, ConfigError, "of an adapter"),
        ({}, {"optimizer": "flash_adamw"}, EnvironmentProblem, "needs a GPU"),
    ],
)
def test_what_cannot_be_right_is_refused_before_the_model_is_loaded(
    make_run: Any, train_sft: Any, model: Any, sft: Any, kind: type, message: str
) -> None:
    recipe, run = make_run("refused", model=model, sft=sft)
    with pytest.raises(kind, match=message):
        train_sft(recipe, run)
