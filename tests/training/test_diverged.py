"""Training that breaks stops with exit code 6, names the last good checkpoint and the rows."""

import json
from typing import Any

import pytest
import torch

from zephyrctl.errors import TrainingDiverged
from zephyrctl.runs import faults
from zephyrctl.training import diverged
from zephyrctl.training.trainer import seen_by_all


def record_of(run: Any, stage: str) -> dict[str, Any]:
    path = run.stage(stage).path / "diverged-rank0.json"
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("packing", ["none", "wrapped"])
def test_a_weight_that_breaks_in_the_middle_of_sft_stops_it_and_names_the_rows(
    make_run: Any, train_sft: Any, monkeypatch: pytest.MonkeyPatch, packing: str
) -> None:
    monkeypatch.setenv(faults.VARIABLE, "step=3:nan")
    recipe, run = make_run(sft={"epochs": 4, "save_every": 2, "packing": packing})
    with pytest.raises(TrainingDiverged) as caught:
        train_sft(recipe, run)
    assert caught.value.exit_code == 6
    assert "not finite at step 4" in caught.value.message
    hint = str(caught.value.hint)
    assert f"last good checkpoint: {run.stage('sft').checkpoints / 'checkpoint-2'}" in hint
    assert "--stage sft --index " in hint
    assert str(caught.value.where).endswith("diverged-rank0.json")
    record = record_of(run, "sft")
    assert record["step"] == 4
    assert record["rows"]
    prepared = json.loads(
        (run.stage("data").path / "sft" / "train.jsonl")
        .read_text(encoding="utf-8")
        .splitlines()[record["rows"][0]["index"]]
    )
    assert prepared["id"] == record["rows"][0]["id"]


def test_a_weight_that_breaks_in_the_middle_of_dpo_names_pairs(
    make_run: Any, train_dpo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(faults.VARIABLE, "step=1:nan")
    recipe, run = make_run(dpo={"init_from": "base", "epochs": 2})
    with pytest.raises(TrainingDiverged, match="not finite at step 2") as caught:
        train_dpo(recipe, run)
    assert "no checkpoint was saved before" in str(caught.value.hint)
    assert "--stage dpo --index " in str(caught.value.hint)
    assert len(record_of(run, "dpo")["rows"]) == 4  # the step's pairs


def test_an_absurd_rate_never_ends_in_a_published_model(make_run: Any, train_sft: Any) -> None:
    recipe, run = make_run(sft={"epochs": 8, "learning_rate": 1e30, "warmup_ratio": 0.0})
    with pytest.raises(TrainingDiverged):
        train_sft(recipe, run)
    assert not run.stage("sft").model.exists()


def test_a_weight_that_breaks_in_the_last_step_is_found_too(
    make_run: Any, train_sft: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(faults.VARIABLE, "step=4:nan")
    recipe, run = make_run(sft={"epochs": 2})
    with pytest.raises(TrainingDiverged, match="after step 4 weights are not finite"):
        train_sft(recipe, run)


def test_an_evaluation_that_is_no_number_ends_the_stage_too(
    make_run: Any, train_sft: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(faults.VARIABLE, "step=2:nan")
    recipe, run = make_run(sft={"epochs": 2, "eval_every": 2})
    with pytest.raises(TrainingDiverged, match="held-out loss is nan at step 2"):
        train_sft(recipe, run)


# ------------------------------------------------------------------------------- sequences


def test_padding_is_no_part_of_a_sequence() -> None:
    batch = {
        "input_ids": torch.tensor([[1, 2, 0], [3, 4, 5]]),
        "attention_mask": torch.tensor([[1, 1, 0], [1, 1, 1]]),
    }
    assert diverged.sequences(batch) == [[1, 2], [3, 4, 5]]


def test_documents_that_share_a_row_are_taken_apart() -> None:
    batch = {
        "input_ids": torch.tensor([[7, 8, 9, 7, 8]]),
        "position_ids": torch.tensor([[0, 1, 2, 0, 1]]),
    }
    assert diverged.sequences(batch) == [[7, 8, 9], [7, 8]]
    assert diverged.sequences({"input_ids": torch.tensor([[7, 8]])}) == [[7, 8]]


# ------------------------------------------------------------------------------- all processes


def test_a_finite_loss_passes_the_guard_bit_by_bit() -> None:
    weight = torch.randn(64, requires_grad=True)
    ((weight**3).sum() / 7).backward()
    plain, weight.grad = weight.grad, None
    loss = (weight**3).sum() / 7
    seen = seen_by_all(loss)
    seen.backward()
    assert torch.equal(seen, loss)
    assert plain is not None
    assert weight.grad is not None
    assert torch.equal(weight.grad, plain)


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_a_loss_that_is_no_number_is_in_every_gradient(bad: float) -> None:
    weight = torch.randn(64, requires_grad=True)
    seen_by_all(weight.sum() * 0.0 + bad).backward()
    assert weight.grad is not None
    assert weight.grad.isnan().all()


def test_all_processes_refuse_the_update_where_one_has_a_broken_loss(
    make_run: Any, drill: Any
) -> None:
    _, run = make_run("ranks", sft={"epochs": 4, "save_every": 2, "keep_checkpoints": 1})
    stage = run.stage("sft")

    assert drill(run, "sft", fault="step=3@1:nan", ranks=2) == [6, 6]

    errors = [json.loads((stage.path / f"error-rank{r}.json").read_text())["error"] for r in (0, 1)]
    for error in errors:
        assert "the loss of process 1 is not finite at step 4" in error["message"]
        assert error["where"].endswith("diverged-rank1.json")
        assert "last good checkpoint" in error["hint"]
    assert [path.name for path in stage.checkpoints.iterdir()] == ["checkpoint-2"]
    assert record_of(run, "sft")["step"] == 4


@pytest.mark.parametrize(
    ("stage", "begins", "said"),
    [
        # Before the first step no gradient is summed: they agree by a word.
        ("sft", 0, "the loss of step 1 on process 1 is nan before any update"),
        ("sft", 2, "the loss of process 1 is not finite at step 3"),
        ("dpo", 2, "the loss of process 1 is not finite at step 3"),
    ],
)
def test_all_processes_refuse_an_infinite_loss_of_one_with_finite_gradients(
    make_run: Any, drill: Any, stage: str, begins: int, said: str
) -> None:
    _, run = make_run("ranks", sft={"epochs": 4}, dpo={"init_from": "base", "epochs": 4})

    assert drill(run, stage, ranks=2, ZEPHYRCTL_TEST_INFINITE=f"1:{begins}") == [6, 6]

    folder = run.stage(stage).path
    for rank in (0, 1):
        error = json.loads((folder / f"error-rank{rank}.json").read_text())["error"]
        assert said in error["message"]
    assert not run.stage(stage).model.exists()
