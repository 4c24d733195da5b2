"""Supervised fine-tuning of the tiny model."""

import json
import stat
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from transformers import AutoTokenizer

from zephyrctl.data import template_lock
from zephyrctl.data.messages import Message
from zephyrctl.data.tokenizers import load_tokenizer
from zephyrctl.data.tokens import encode_dialogue
from zephyrctl.errors import ConfigError, DataError, JobFailed
from zephyrctl.runs.atomic import read_jsonl
from zephyrctl.runs.metrics import notices
from zephyrctl.training import attention, outcome, publish
from zephyrctl.training.rows import IGNORED
from zephyrctl.training.sft import Method

pytestmark = pytest.mark.train


def test_eight_dialogues_are_learned_by_heart_and_published(make_run: Any, train_sft: Any) -> None:
    recipe, run = make_run(sft={"epochs": 20, "log_every": 7, "sample_prompts": 3})
    result = train_sft(recipe, run)
    stage = run.stage("sft")

    assert result.metrics["eval_loss"] < 0.05 < 5 < result.metrics["eval_loss_start"]
    assert result.metrics["steps"] == 40
    records = [r for r in read_jsonl(stage.metrics_path) if r["kind"] == "metrics"]
    assert [r["step"] for r in records if r["split"] == "train"] == [7, 14, 21, 28, 35, 40]
    assert [r["step"] for r in records if r["split"] == "eval"] == [0, 40]
    mean = sum(r["values"]["loss"] * n for r, n in zip(_train(records), [7] * 5 + [5], strict=True))
    assert result.metrics["train_loss"] == pytest.approx(mean / 40)

    samples = read_jsonl(stage.samples_path)
    assert {row["step"] for row in samples} == {0, 40}
    learned = [row for row in samples if row["step"] == 40]
    assert learned[0]["completion"] == "Dear Amir, here is some fruit."
    assert all(row["stopped"] for row in learned)
    _check_folder(run)
    assert not stage.checkpoints.exists()


def _train(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [r for r in records if r["split"] == "train"]


def _check_folder(run: Any) -> None:
    folder = run.stage("sft").model
    names = {path.name for path in folder.iterdir()}
    assert {"config.json", "model.safetensors", "chat_template.jinja", "zephyrctl.json"} <= names
    assert not names & {"training_args.bin", "optimizer.pt", "README.md", "adapter_config.json"}
    assert stat.S_IMODE((folder / "model.safetensors").stat().st_mode) == 0o644
    assert json.loads((folder / "config.json").read_text())["use_cache"] is True
    generation = json.loads((folder / "generation_config.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert generation["eos_token_id"] == tokenizer.eos_token_id
    lock = template_lock.check(folder, tokenizer)
    assert lock is not None
    assert (lock.stage, lock.template, lock.run) == ("sft", "zephyr", "t")


def test_what_is_trained_is_what_data_preparation_marked(make_run: Any) -> None:
    recipe, run = make_run()
    tokenizer = load_tokenizer(recipe.model.base, chat_template="zephyr")
    answer = Message("assistant", "Dear Amir, here is some fruit.")
    asked = Message("user", "Please politely give Amir some fruit.")
    encoded = encode_dialogue(tokenizer, [asked, answer])
    rows = Method(recipe).load(run).train.to_list()
    row = next(r for r in rows if r["input_ids"] == encoded.input_ids)
    assert [label != IGNORED for label in row["labels"]] == [m == 1 for m in encoded.assistant_mask]
    trained = [label for label in row["labels"] if label != IGNORED]
    assert tokenizer.decode(trained) == answer.content + "</s>"


def test_loss_on_all_tokens_trains_every_token(make_run: Any) -> None:
    recipe, run = make_run(sft={"loss_on": "all"})
    rows = Method(recipe).load(run).train
    assert rows["labels"][:] == rows["input_ids"][:]


def test_packed_dialogues_do_not_see_each_other(make_run: Any, train_sft: Any) -> None:
    """The same held-out loss, and after a step over all eight dialogues still the same."""
    found = []
    for name, settings in (
        ("padded", {"padding_free": False}),
        ("packed", {"packing": "bfd", "max_length": 512, "global_batch_size": 1}),
    ):  # fmt: skip
        recipe, run = make_run(name, sft={"epochs": 1, "global_batch_size": 8} | settings)
        metrics = train_sft(recipe, run).metrics
        assert (metrics["steps"], metrics["held_out"]) == (1, 8)
        found.append([metrics["eval_loss_start"], metrics["eval_loss"], metrics["tokens"]])
    assert found[1] == pytest.approx(found[0], rel=1e-5)
    assert found[1][2] == found[0][2]


@pytest.mark.parametrize("packing", ["none", "bfd", "wrapped"])
@pytest.mark.parametrize("adapter", ["none", "lora", "dora"])
def test_every_way_of_training_with_every_packing(
    make_run: Any, train_sft: Any, adapter: str, packing: str
) -> None:
    """Three steps each; publishing scores the folder again and fails where it says otherwise."""
    recipe, run = make_run(
        sft={"adapter": {"type": adapter}, "packing": packing, "max_steps": 3, "max_length": 128,
             "global_batch_size": 2}
    )  # fmt: skip
    metrics = train_sft(recipe, run).metrics
    assert metrics["steps"] == 3
    assert metrics["eval_loss"] < metrics["eval_loss_start"]
    names = {path.name for path in run.stage("sft").model.iterdir()}
    assert ("model.safetensors" if adapter == "none" else "adapter_model.safetensors") in names
    said = notices(run.stage("sft").metrics_path)
    assert any(text.startswith("no padding") for text in said)
    assert ("packing_efficiency" in metrics) == (packing != "none")
    assert any("% full; no token is lost" in text for text in said) == (packing != "none")


def test_an_attention_that_cannot_join_rows_is_named_and_packing_still_holds(
    make_run: Any, train_sft: Any
) -> None:
    sft = {"packing": "bfd", "max_length": 128, "max_steps": 2}
    recipe, run = make_run(model={"attention": "eager"}, sft=sft)
    metrics = train_sft(recipe, run).metrics
    said = " ".join(notices(run.stage("sft").metrics_path))
    assert "model.attention is eager" in said
    assert "kept apart by a dense mask" in said
    assert metrics["eval_loss"] < metrics["eval_loss_start"]

    insisting, other = make_run("i", model={"attention": "eager"}, sft={"padding_free": True})
    with pytest.raises(ConfigError, match=r"without padding: model\.attention is eager"):
        train_sft(insisting, other)


def test_thirty_two_dialogues_are_overfitted_to_near_zero_loss(
    make_run: Any, train_sft: Any
) -> None:
    """Random answers to random questions: nothing but memory helps."""
    recipe, run = make_run(
        sft={"packing": "bfd", "max_length": 96, "global_batch_size": 4, "max_steps": 30,
             "learning_rate": 1e-2}
    )  # fmt: skip
    rng = np.random.default_rng(5)
    rows = [
        {"id": str(i), "input_ids": rng.integers(3, 300, 12).tolist(),
         "assistant_mask": [0] * 6 + [1] * 6}
        for i in range(32)
    ]  # fmt: skip
    folder = run.stage("data").path / "sft"
    for split in ("train", "test"):
        Dataset.from_list(rows).to_parquet(folder / f"{split}.parquet")
    (folder / "train.jsonl").unlink()  # what is learned here was never text
    metrics = train_sft(recipe, run).metrics
    assert metrics["eval_loss"] < 0.01 < 5 < metrics["eval_loss_start"]
    assert metrics["eval_token_accuracy"] == 1.0


def test_evaluations_and_samples_come_at_their_steps_also_under_noise(
    make_run: Any, train_sft: Any
) -> None:
    """Publishing compares the folder with the last evaluation, which noise would have spoilt."""
    sft = {"max_steps": 5, "eval_every": 2, "sample_every": 3, "sample_prompts": 1}
    recipe, run = make_run(sft={**sft, "neftune_alpha": 5.0})
    train_sft(recipe, run)
    stage = run.stage("sft")
    records = [r for r in read_jsonl(stage.metrics_path) if r["kind"] == "metrics"]
    assert [r["step"] for r in records if r["split"] == "eval"] == [0, 2, 4, 5]
    assert [row["step"] for row in read_jsonl(stage.samples_path)] == [0, 3, 5]
    config = (stage.model / "config.json").read_text(encoding="utf-8")
    assert "neftune" not in config
    assert attention.NAME not in config


def test_only_the_last_layers_change(make_run: Any, train_sft: Any, tiny_base: Any) -> None:
    recipe, run = make_run(sft={"trainable_layers": 1})
    result = train_sft(recipe, run)
    before = load_file(tiny_base / "model.safetensors")
    after = load_file(run.stage("sft").model / "model.safetensors")
    changed = {name for name, weight in after.items() if not torch.equal(weight, before[name])}
    assert changed == {n for n in before if n.startswith(("model.layers.2.", "model.norm."))}
    assert result.metrics["trained_parameters"] == sum(before[n].numel() for n in changed)
    assert result.metrics["parameters"] == sum(w.numel() for w in before.values())


def test_a_published_model_that_says_something_else_fails_the_stage(
    make_run: Any, train_sft: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, run = make_run(sft={"epochs": 1})
    load_again = publish.read_weights

    def another(path: str, **options: Any) -> Any:
        model, unused = load_again(path, **options)
        if ".partial-" in str(path):
            torch.nn.init.normal_(model.lm_head.weight)
        return model, unused

    monkeypatch.setattr(publish, "read_weights", another)
    with pytest.raises(JobFailed, match="the published model is not the trained one"):
        train_sft(recipe, run)
    assert not run.stage("sft").model.exists()


def test_expected_values_are_compared_and_unknown_ones_refused(
    make_run: Any, train_sft: Any
) -> None:
    expected = {
        "eval_loss": {"value": 6.0, "tolerance": 10.0, "source": "a card"},
        "train_loss": {"value": 0.0, "tolerance": 0.1},
    }
    recipe, run = make_run(sft={"epochs": 1, "expected": expected})
    found = train_sft(recipe, run).metrics["expected"]
    assert found["eval_loss"]["within"]
    assert not found["train_loss"]["within"]

    wrong, other = make_run("wrong", sft={"expected": {"eval_los": {"value": 1, "tolerance": 0}}})
    with pytest.raises(ConfigError, match="did you mean 'eval_loss'"):
        train_sft(wrong, other)


def test_a_split_without_rows_is_an_error(make_run: Any, train_sft: Any) -> None:
    recipe, run = make_run()
    path = run.stage("data").path / "sft" / "train.parquet"
    empty = pq.read_table(path).slice(0, 0)
    pq.write_table(empty, path)
    with pytest.raises(DataError, match="the sft training split is empty"):
        train_sft(recipe, run)


@pytest.mark.parametrize(
    ("lengths", "on_cpu", "expected"),
    [
        ([], True, []),
        ([10] * 4, True, [0, 1, 2, 3]),
        ([2048] * 100, True, [0, 50]),
        ([2048] * 128, False, list(range(0, 128, 2))),
    ],
)
def test_rows_that_are_scored_again_spread_over_the_split(
    lengths: list[int], on_cpu: bool, expected: list[int]
) -> None:
    assert outcome.rescored_rows(lengths, on_cpu=on_cpu) == expected
