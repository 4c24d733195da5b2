"""Supervised fine-tuning of the tiny model."""

import json
import stat
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from zephyrctl.config.schema.training import Sft
from zephyrctl.data import template_lock
from zephyrctl.data.messages import Message
from zephyrctl.data.tokenizers import load_tokenizer
from zephyrctl.data.tokens import encode_dialogue
from zephyrctl.errors import ConfigError, DataError, JobFailed
from zephyrctl.runs.atomic import read_jsonl
from zephyrctl.training import publish, session
from zephyrctl.training.rows import IGNORED
from zephyrctl.training.sft import Method, as_rows, unpacked

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


def test_loss_on_all_tokens_trains_every_token() -> None:
    data = Dataset.from_list([{"input_ids": [5, 6, 7], "assistant_mask": [0, 0, 1]}])
    assert as_rows(data, Sft(loss_on="all"), seed=0)[0]["labels"] == [5, 6, 7]
    assert as_rows(data, Sft(), seed=0)[0]["labels"] == [IGNORED, IGNORED, 7]


@pytest.mark.parametrize("packing", ["bfd", "wrapped"])
def test_packing_loses_no_token(packing: Any) -> None:
    lengths = [5, 9, 3, 7, 8]
    rows = [{"input_ids": [i] * n, "assistant_mask": [1] * n} for i, n in enumerate(lengths)]
    packed = as_rows(Dataset.from_list(rows), Sft(packing=packing, max_length=12), seed=1)
    tokens = sorted(token for row in packed["input_ids"] for token in row)
    assert tokens == sorted(i for i, n in enumerate(lengths) for _ in range(n))
    if packing == "bfd":
        documents = [ids for row in packed.to_list() for ids, _ in unpacked(row)]
        assert sorted(len(ids) for ids in documents) == sorted(lengths)
        assert all(len(set(ids)) == 1 for ids in documents)


def test_packed_dialogues_do_not_see_each_other(make_run: Any, train_sft: Any) -> None:
    plain, run = make_run("plain", sft={"epochs": 1})
    packed, packed_run = make_run("packed", sft={"epochs": 1, "packing": "bfd", "max_length": 200})
    losses = [
        train_sft(recipe, where).metrics["eval_loss_start"]
        for recipe, where in ((plain, run), (packed, packed_run))
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


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
    load_again = AutoModelForCausalLM.from_pretrained

    def another(path: str, **options: Any) -> Any:
        model = load_again(path, **options)
        if ".partial-" in str(path):
            torch.nn.init.normal_(model.lm_head.weight)
        return model

    monkeypatch.setattr(publish.AutoModelForCausalLM, "from_pretrained", another)
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
    assert session.rescored_rows(lengths, on_cpu=on_cpu) == expected
