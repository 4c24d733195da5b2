"""Which strategy several devices take, and what each of them then holds."""

import json

import pytest
from tests.planning.test_choose import H100, MISTRAL, chosen, recipe

from zephyrctl.cli.app import main
from zephyrctl.config import sharing
from zephyrctl.errors import ConfigError
from zephyrctl.planning import hardware, memory, remedies

EIGHT = hardware.stated("h100-80g", count=8)
SMALL = hardware.stated("rtx4090-24g", count=8)


def test_all_weights_of_7b_on_eight_gpus_are_shared_out() -> None:
    for stage in ("sft", "dpo"):
        found = chosen(recipe(), EIGHT, stage=stage)
        assert found.strategy == "fsdp2"
        assert found.optimizer == "adamw"  # exact, where one GPU would need bfloat16 weights
        assert found.fits


def test_each_device_holds_its_share() -> None:
    found = chosen(recipe(), EIGHT)
    layer, all_weights = MISTRAL.layer_parameters, MISTRAL.parameters
    outside = all_weights - MISTRAL.layers * layer
    assert found.peak.optimizer == 8 * all_weights / 8
    assert found.peak.gradients == 4 * all_weights / 8
    # Its eighth in float32, and gathered in bfloat16: two layers and what is outside of them.
    assert found.peak.weights == 4 * all_weights / 8 + 2 * (2 * layer + outside)


def test_an_adapter_keeps_the_model_on_each_device_where_it_fits() -> None:
    lora = recipe(sft__adapter__type="lora")
    assert chosen(lora, EIGHT).strategy == "ddp"
    short = recipe(sft__adapter__type="lora", sft__max_length=256, sft__packing="none")
    narrow = hardware.Device("12 GB", 8, 12 * 2**30, None, on_gpu=True, bf16=True)
    assert chosen(short, narrow).strategy == "fsdp2"


def test_one_device_shares_nothing() -> None:
    assert chosen(recipe(), H100).strategy == "single"
    assert chosen(recipe(launch__strategy="fsdp2"), H100).strategy == "single"


def test_a_stated_strategy_is_kept_and_only_judged() -> None:
    assert chosen(recipe(launch__strategy="ddp"), EIGHT).strategy == "ddp"
    assert not chosen(recipe(launch__strategy="ddp"), SMALL).fits
    assert chosen(recipe(launch__strategy="zero3"), SMALL).fits


def test_optimizers_that_cannot_work_on_shards_stay_with_ddp() -> None:
    assert chosen(recipe(sft__optimizer="flash_adamw"), EIGHT).strategy == "ddp"
    assert chosen(recipe(sft__compile=True), EIGHT).strategy == "ddp"


def test_what_was_chosen_is_written_into_the_recipe() -> None:
    settled = chosen(recipe(), EIGHT).applied(recipe(), "sft")
    assert settled.launch.strategy == "fsdp2"


def test_gradients_wait_unsharded_only_where_they_are_small() -> None:
    # 8 GiB of AdamW's 7B gradients are over a quarter of 24 GB; those of an adapter are not.
    assert chosen(recipe(), SMALL).peak.gradients == 4 * MISTRAL.parameters / 8
    lora = recipe(sft__adapter__type="lora", launch__strategy="fsdp2", sft__micro_batch_tokens=2048)
    found = chosen(lora, SMALL)
    trained = memory.trained_parameters(MISTRAL, found.load.work)
    assert found.load.accumulates
    assert found.peak.gradients in (4 * trained / 8 + 4 * trained, 4 * trained / 8)


def test_sharing_out_is_named_as_a_way_out() -> None:
    ways = remedies.ways_out(recipe(launch__strategy="ddp"), MISTRAL, SMALL)
    assert "the training state shared out: --set launch.strategy=fsdp2" in ways


@pytest.mark.parametrize(
    ("sets", "where"),
    [
        ({"model__load_in_4bit": True, "sft__adapter__type": "lora"}, "model.load_in_4bit"),
        ({"sft__compile": True}, "sft.compile"),
        ({"sft__optimizer": "adamw_bf16"}, "sft.optimizer"),
        ({"sft__optimizer": "flash_adamw"}, "sft.optimizer"),
        ({"sft__optimizer": "adamw_8bit"}, "sft.optimizer"),
        ({"dpo__adapter__type": "lora", "dpo__reference": "copy"}, "dpo.reference"),
    ],
)
def test_what_cannot_be_shared_out_is_refused_by_name(sets: dict, where: str) -> None:
    if "model__load_in_4bit" in sets:
        sets = sets | {"dpo__adapter__type": "lora"}
    with pytest.raises(ConfigError, match=r"fsdp2|in shards"):
        recipe(launch__strategy="fsdp2", **sets)
    found = recipe(**sets)
    stage = "dpo" if where.startswith("dpo") else "sft"
    assert [p.where for p in sharing.problems(found, stage, strategy="fsdp2")] == [where]


def test_what_zero3_alone_cannot_do() -> None:
    found = recipe(dpo__reference="copy")
    assert [p.where for p in sharing.problems(found, "dpo", strategy="zero3")] == ["dpo.reference"]
    assert sharing.problems(found, "dpo", strategy="fsdp2") == []


def test_the_plan_names_the_strategy(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", "--recipe", "zephyr-7b", "--gpu", "h100-80g", "--gpus", "8"]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--json"])
    assert ended.value.code in (0, None)
    stages = json.loads(capsys.readouterr().out)["stages"]
    assert [stage["strategy"] for stage in stages] == ["fsdp2", "fsdp2"]
