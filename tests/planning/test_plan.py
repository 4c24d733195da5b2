"""The plan of a recipe: batches, steps, hours, what fits, what would."""

import bz2
import gzip
import json
from pathlib import Path

import pytest

from zephyrctl.config.schema import Recipe
from zephyrctl.environment import Gpu, Memory
from zephyrctl.errors import UsageError
from zephyrctl.planning import hardware, plan, remedies, report, workload
from zephyrctl.planning.architecture import KNOWN
from zephyrctl.planning.workload import Data, Workload

MISTRAL = KNOWN["mistralai/mistral-7b-v0.1"]
TINY = KNOWN["tiny"]
CHAT = {"path": "HuggingFaceH4/ultrachat_200k", "split": "train_sft"}
FEEDBACK = {"path": "HuggingFaceH4/ultrafeedback_binarized", "split": "train_prefs"}


def zephyr(**changes) -> Recipe:
    values = {
        "data": {
            "sft": {"train": [CHAT], "test": [CHAT]},
            "dpo": {"train": [FEEDBACK], "test": [FEEDBACK]},
        },
        "sft": {"packing": "wrapped"},
        "dpo": {"global_batch_size": 128},
    }
    for path, value in changes.items():
        section, _, key = path.partition("__")
        values.setdefault(section, {})[key] = value
    return Recipe.model_validate(values)


def make(recipe: Recipe, device: hardware.Device, model=MISTRAL, **options) -> plan.Plan:
    data = {
        "sft": Data(workload.of_stage(recipe.data.sft, max_length=recipe.sft.max_length)),
        "dpo": Data(workload.of_stage(recipe.data.dpo, max_length=recipe.dpo.max_length)),
    } | options.pop("data", {})
    known = {"mfu": 0.4, "flash": True}
    machine = plan.Machine(device, **known | {k: options.pop(k) for k in known if k in options})
    return plan.make(recipe, model, machine, data=data, **{"on_disk": False, **options})


def test_the_steps_of_the_2024_recipe():
    sft, dpo = make(zephyr(), hardware.stated("h100-80g", count=8)).stages
    assert sft.steps == pytest.approx(1090, abs=1)
    assert dpo.steps == 478
    # 16 rows of 2,048 tokens for each GPU, at most four of them at once beside their activations.
    assert (sft.strategy, sft.micro_batches) == ("fsdp2", 4)
    assert 4 * 2048 <= sft.micro_batch_tokens < 5 * 2048


def test_hours_are_flops_over_the_rate_that_is_reached():
    recipe = zephyr(sft__gradient_checkpointing=False)
    one = make(recipe, hardware.stated("h100-80g", count=1), mfu=0.8).stages[0]
    assert one.hours == pytest.approx(4.42, rel=0.03)  # the floor at 790 TFLOP/s
    eight = make(recipe, hardware.stated("h100-80g", count=8), mfu=0.8).stages[0]
    assert one.hours == pytest.approx(8 * eight.hours)


def test_what_is_stated_and_does_not_fit_is_judged_and_a_way_out_is_named():
    device = hardware.stated("h100-80g", count=8)
    stated = zephyr(sft__optimizer="adamw", dpo__optimizer="adamw", launch__strategy="ddp")
    made = make(stated, device)
    assert not made.fits
    assert [stage.optimizer for stage in made.stages] == ["adamw", "adamw"]
    ways = remedies.ways_out(stated, MISTRAL, device, flash=True)
    assert ways[0].endswith("--set sft.optimizer=auto --set dpo.optimizer=auto")
    assert any(way.startswith("an adapter") for way in ways)
    small = hardware.stated("rtx4090-24g", count=1)
    assert remedies.ways_out(zephyr(), MISTRAL, small)[-1] == (
        "QLoRA: --set model.load_in_4bit=true --set sft.adapter.type=lora "
        "--set dpo.adapter.type=lora"
    )


def test_simpo_needs_no_reference():
    device = hardware.stated("h100-80g", count=8)
    kept = {"optimizer": "adamw_bf16", "gradient_checkpointing": True}
    feedback = {"dpo__" + key: value for key, value in kept.items()}
    copied = make(zephyr(dpo__reference="copy", **feedback), device).stages[1]
    alone = make(zephyr(dpo__loss="simpo", **feedback), device).stages[1]
    assert copied.memory["reference"] == 2 * MISTRAL.parameters
    assert alone.memory["reference"] == 0
    # With recomputation a step is four forward passes, and the reference would be a fifth.
    assert alone.flops == pytest.approx(0.8 * copied.flops, rel=0.02)


def test_qlora_of_7b_fits_on_24_gb():
    adapter = {"type": "lora", "r": 16}
    recipe = zephyr(model__load_in_4bit=True, sft__adapter=adapter, dpo__adapter=adapter)
    made = make(recipe, hardware.stated("rtx4090-24g", count=1), price=0.5)
    assert made.fits
    assert made.cost == pytest.approx(0.5 * made.hours)


def test_a_cpu_without_a_measured_rate_has_no_hours():
    made = make(zephyr(), hardware.cpu(Memory(2**34, 2**33), processes=2, flops=None), TINY)
    assert made.hours is None
    assert made.device.memory == 2**32
    measured = hardware.cpu(Memory(2**34, 2**33), processes=1, flops=2e11)
    assert make(zephyr(), measured, TINY).hours > 0


def test_an_unknown_gpu_has_its_nearest_name():
    with pytest.raises(UsageError, match="did you mean 'h100-80g'"):
        hardware.stated("h100-80", count=1)


def test_detected_gpus_count_by_the_smallest():
    cards = [
        Gpu(0, "GPU-a", "NVIDIA A100-SXM4-80GB", 81920, 81000, "8.0"),
        Gpu(1, "GPU-b", "NVIDIA A100-PCIE-40GB", 40960, 40000, "8.0"),
    ]
    device = hardware.detected(cards)
    assert device.memory == 40960 * 2**20
    assert device.peak == 312e12
    assert hardware.detected([Gpu(0, "GPU-c", "Mystery 9", 1024, 1000, "9.9")]).peak is None


# ---------------------------------------------------------------------------------- workload


def source_of(recipe: Recipe) -> Workload | None:
    return workload.of_stage(recipe.data.sft, max_length=100)


def test_local_rows_are_counted_also_when_packed(tmp_path: Path):
    line = json.dumps({"messages": [{"role": "user", "content": "x" * 40}] * 2}) + "\n"
    text = (line * 10 + "\n").encode()
    for name, content in {
        "a.jsonl": text,
        "b.jsonl.gz": gzip.compress(text, mtime=0),
        "c.jsonl.bz2": bz2.compress(text),
    }.items():
        (tmp_path / name).write_bytes(content)
    recipe = zephyr(data__sft={"train": [{"path": str(tmp_path)}], "test_size": 0.1})
    found = source_of(recipe)
    assert found is not None
    assert found.rows == 27
    assert found.tokens_per_row == 80 / 4 + 14


def test_limit_and_weight_change_the_rows():
    recipe = zephyr(data__sft={"train": [{**CHAT, "limit": 1000, "weight": 0.5}], "test_size": 0})
    assert source_of(recipe).rows == 500


def test_an_unknown_data_set_is_unknown_and_not_guessed():
    recipe = zephyr(data__sft={"train": [CHAT, {"path": "owner/unknown"}]})
    assert source_of(recipe) is None
    sft = make(recipe, hardware.stated("h100-80g", count=1)).stages[0]
    assert (sft.steps, sft.hours) == (None, None)


def test_prepared_data_are_counted_from_the_account(tmp_path: Path):
    account = tmp_path / "account.json"
    split = {"splits": {"train": {"rows": 10, "tokens": 500}}}
    account.write_text(json.dumps({"sft": split, "dpo": split}), encoding="utf-8")
    assert workload.of_account(account, stage="sft").tokens_per_row == 50
    assert workload.of_account(account, stage="dpo").tokens_per_row == 100  # two answers
    assert workload.of_account(tmp_path / "absent.json", stage="sft") is None


def test_prepared_rows_say_what_padding_and_prompts_would_cost():
    rows = [(100, 200, 100)] * 64 + [(20, 40, 80)] * 64
    known = Workload(128, 400, "counted: the run's prepared data")
    device = hardware.stated("h100-80g", count=1)

    def tokens(**sets) -> plan.Tokens:
        recipe = zephyr(**{"dpo__epochs": 2, **sets})
        return make(recipe, device, data={"dpo": Data(known, rows)}).stages[1].tokens

    ours = tokens()
    assert ours.real == 2 * 64 * (500 + 160)
    assert ours.computed == 2 * 64 * (399 + 139)  # the prompt once, without its last token
    apart = tokens(dpo__prefix_sharing=False)
    assert apart.computed == 2 * 64 * (498 + 158)
    padded = tokens(dpo__padding_free=False)
    assert padded.computed == padded.padded
    assert padded.computed > apart.computed


# ------------------------------------------------------------------------------------- report


def test_the_report_says_what_does_not_fit_and_where_numbers_come_from():
    recipe = zephyr(sft__optimizer="adamw", dpo__optimizer="adamw", launch__strategy="ddp")
    found = report.lines(make(recipe, hardware.stated("h100-80g", count=8)))
    text = "\n".join(found)
    assert "7.24 B parameters" in text
    assert "does not fit" in text
    assert "published: 207,865 rows" in text
    assert max(len(line) for line in found) <= 80


def test_the_plan_as_json_is_plain_data():
    made = make(zephyr(), hardware.stated("h100-80g", count=8))
    again = json.loads(json.dumps(made.to_json(), allow_nan=False))
    assert again["fits"] is True
    first = again["stages"][0]
    assert first["stage"] == "sft"
    assert sum(first["memory"].values()) == pytest.approx(first["peak_bytes"])
    assert (first["strategy"], first["optimizer"]) == ("fsdp2", "adamw")
    assert "adamw by ddp without recomputation takes" in first["reasons"][0]
