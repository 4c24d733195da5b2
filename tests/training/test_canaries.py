"""Canaries of whole runs: each fires where it should, and none does on a healthy run."""

import json
from typing import Any

import pytest
import torch

from zephyrctl.config.schema.training import Sft
from zephyrctl.runs.metrics import Reporter, notices
from zephyrctl.runs.verdict import METRIC, Check, from_metrics, lines
from zephyrctl.training.canaries import Canaries
from zephyrctl.training.progress import Progress, load


def checks(result: Any) -> dict[str, Check]:
    return {check.name: check for check in from_metrics(result.metrics)}


def worrying(result: Any) -> list[str]:
    return [name for name, check in checks(result).items() if check.state in ("warn", "fail")]


def test_a_healthy_run_of_sft_passes_every_check_it_can_make(make_run: Any, train_sft: Any) -> None:
    recipe, run = make_run(sft={"epochs": 4, "sample_prompts": 1})
    result = train_sft(recipe, run)
    found = checks(result)
    assert worrying(result) == []
    assert found["weights move"].value == pytest.approx(1.0, abs=0.01)
    assert found["learning rate"].state == "pass"
    assert found["EOS is trained"].state == "pass"
    assert found["one BOS"].value == 8
    assert found["number of steps"].state == "not checked"
    assert found["loss falls"].state == "pass"
    assert found["answers end"].state == "pass"
    assert result.metrics[METRIC]["state"] == "pass"
    told = lines(found.values())
    assert told[0].startswith("canaries: ")
    assert "not checked: number of steps (no published run)" in told[1]


def test_a_healthy_run_of_dpo_passes_every_check_it_can_make(make_run: Any, train_dpo: Any) -> None:
    adapter = {"type": "lora", "r": 4, "alpha": 8, "dropout": 0.0}
    recipe, run = make_run(
        dpo={"init_from": "base", "epochs": 4, "sample_prompts": 1, "adapter": adapter}
    )
    result = train_dpo(recipe, run)
    found = checks(result)
    assert worrying(result) == []
    assert found["adapters move"].value > 0
    assert found["policy is the reference at first"].value == pytest.approx(0.6931, abs=1e-3)
    assert found["reward accuracy"].state == "pass"
    assert found["reward margin"].state == "pass"
    assert found["chosen log-probs"].state == "pass"


def test_a_rate_far_too_low_shows_in_the_margin_and_in_the_loss(
    make_run: Any, train_dpo: Any
) -> None:
    recipe, run = make_run(dpo={"init_from": "base", "epochs": 4, "learning_rate": 1e-9})
    result = train_dpo(recipe, run)
    assert {"reward margin", "loss falls"} <= set(worrying(result))
    assert any("hardly moves" in text for text in notices(run.stage("dpo").metrics_path))


def test_ranges_and_steps_of_the_recipe_fire_at_their_place(make_run: Any, train_sft: Any) -> None:
    published = {"steps": {"value": 1090, "tolerance": 0, "source": "a card"}}
    ranges = [
        {"metric": "loss", "at": 0.25, "below": 0.001},
        {"metric": "loss", "at": 0.5, "below": 100.0},
        {"metric": "eval_loss", "at": 1, "below": 0.001, "source": "a card"},
        {"metric": "eval_loss", "at": 0.5, "below": 0.001},
    ]
    recipe, run = make_run(sft={"epochs": 4, "expected": published, "canaries": ranges})
    found = checks(train_sft(recipe, run))
    assert found["number of steps"].state == "warn"
    assert found["loss at 25% of the steps"].state == "warn"
    assert found["loss at 50% of the steps"].state == "pass"
    assert found["eval_loss at the end"].state == "warn"
    assert found["eval_loss at 50% of the steps"].state == "not checked"  # evaluated at the end
    said = notices(run.stage("sft").metrics_path)
    assert any("the published run took 1090 (a card)" in text for text in said)
    assert any(text.startswith("step 2: loss is") for text in said)


def test_a_model_that_is_not_trained_is_found_by_its_weights(tmp_path: Any) -> None:
    model = TinyModel()
    canaries = Canaries(Sft(), Progress(), Reporter(tmp_path, rank=0))
    canaries.begin(model, step=0, warmup=0)
    canaries.after_step(model, step=10, total=20)
    assert canaries.progress.checks["weights move"]["state"] == "fail"


def test_updates_that_rounding_swallows_are_found(tmp_path: Any) -> None:
    model = TinyModel()
    canaries = Canaries(Sft(), Progress(), Reporter(tmp_path, rank=0))
    canaries.begin(model, step=0, warmup=0)
    with torch.no_grad():
        model.layer.weight[:1] += 0.1  # of 32 rows
    canaries.after_step(model, step=10, total=20)
    assert canaries.progress.checks["weights move"]["state"] == "warn"
    assert "rounding" in notices(tmp_path / "metrics.jsonl")[0]


def test_an_adapter_without_gradients_is_found_by_its_second_matrix(tmp_path: Any) -> None:
    model = TinyModel()
    model.q_proj = torch.nn.Module()
    second = torch.nn.Linear(2, 4, bias=False)
    torch.nn.init.zeros_(second.weight)
    model.q_proj.lora_B = torch.nn.ModuleDict({"default": second})
    canaries = Canaries(Sft(), Progress(), Reporter(tmp_path, rank=0))
    canaries.begin(model, step=0, warmup=0)
    canaries.after_step(model, step=10, total=20)
    assert canaries.progress.checks["adapters move"]["state"] == "fail"


def test_weights_are_compared_again_after_a_resume_before_the_comparison(tmp_path: Any) -> None:
    model = TinyModel()
    canaries = Canaries(Sft(), Progress(), Reporter(tmp_path, rank=0))
    canaries.begin(model, step=5, warmup=3)
    with torch.no_grad():
        model.layer.weight += 0.1
    canaries.after_step(model, step=14, total=20)
    assert "weights move" not in canaries.progress.checks
    canaries.after_step(model, step=15, total=20)
    assert canaries.progress.checks["weights move"]["state"] == "pass"


def test_a_notice_is_given_once_and_again_only_when_it_gets_worse(tmp_path: Any) -> None:
    canaries = Canaries(Sft(), Progress(), Reporter(tmp_path, rank=0))
    for step, state in enumerate(["warn", "warn", "fail", "fail", "pass", "warn"], start=1):
        canaries.note([Check("x", state, f"{state}!")], step=step)
    said = [json.loads(line)["text"] for line in open(tmp_path / "metrics.jsonl")]  # noqa: PTH123,SIM115
    assert said == ["step 1: warn!", "step 3: fail!", "step 6: warn!"]


def test_outcomes_outlive_a_kill(tmp_path: Any) -> None:
    canaries = Canaries(Sft(), Progress(), Reporter(tmp_path, rank=0))
    canaries.note([Check("x", "warn", "said before")], step=1)
    canaries.progress.save(tmp_path)
    again = Canaries(Sft(), load(tmp_path), Reporter(tmp_path, rank=0))
    again.note([Check("x", "warn", "said before")], step=2)
    assert len(notices(tmp_path / "metrics.jsonl")) == 1


class TinyModel(torch.nn.Module):
    """One trained layer, and embeddings that need not move."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = torch.nn.Embedding(8, 4)
        self.layer = torch.nn.Linear(4, 32, bias=False)

    def get_input_embeddings(self) -> torch.nn.Module:
        return self.embeddings

    def get_output_embeddings(self) -> None:
        return None
