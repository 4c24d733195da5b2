"""Which rung of the memory ladder is taken, why, and that what is stated is only judged."""

import json
from pathlib import Path

import pytest

from zephyrctl.config.layers import load
from zephyrctl.config.recipes import packaged
from zephyrctl.environment import Memory
from zephyrctl.errors import DataError
from zephyrctl.planning import architecture, calibration, choose, hardware, plan, workload
from zephyrctl.planning.architecture import KNOWN
from zephyrctl.planning.calibration import Entry
from zephyrctl.planning.choose import Setting
from zephyrctl.planning.lengths import Costs

MISTRAL = KNOWN["mistralai/mistral-7b-v0.1"]
H100 = hardware.stated("h100-80g", count=1)
H200 = hardware.stated("h200-141g", count=1)
CPU = hardware.cpu(Memory(2**36, 24 * 2**30), processes=1, flops=None)
RECIPES = [item.name for item in packaged()]


def recipe(name: str = "zephyr-7b", **sets: object):
    flags = {key.replace("__", "."): value for key, value in sets.items()}
    return load(recipe=name, env={}, flags=flags).recipe


def chosen(found, device, *, stage="sft", model=MISTRAL, flash=True, keep=None, **more):
    setting = Setting(found, stage, model, device, more.get("costs"), more.get("entry"))
    return choose.choose(setting, flash=flash, keep=keep)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize(
    "device", [H100, hardware.stated("h100-80g", count=8), CPU], ids=["1", "8", "cpu"]
)
def test_every_packaged_recipe_is_planned(name, device):
    found = recipe(name)
    model = architecture.find(found.model.base, folder=None)
    if model is None and name == "first-run":
        model = KNOWN["huggingfacetb/smollm2-135m"]
    assert model is not None
    machine = plan.Machine(device, mfu=0.4, flash=True)
    data = workload.known_data(found, Path("absent"))
    made = plan.make(found, model, machine, data=data, on_disk=True)
    for stage in made.stages:
        training = getattr(found, stage.stage)
        assert sum(stage.memory.values()) == pytest.approx(stage.peak_bytes)
        assert stage.micro_batches >= 1
        assert stage.optimizer != "auto"
        if training.optimizer != "auto":
            assert stage.optimizer == training.optimizer
        if stage.fits:
            assert stage.peak_bytes <= 0.95 * device.memory
    # What is made for one 80 GB GPU, or for a CPU, fits there.
    if device is H100 and not name.startswith("mixtral"):
        assert made.fits
    if device is CPU and name in ("tiny", "first-run"):
        assert made.fits
        assert [stage.checkpointing for stage in made.stages] == ["none", "none"]


def test_the_ladder_goes_from_the_fastest_to_the_smallest():
    rungs = [
        (choice.optimizer, choice.checkpointing)
        for choice in (
            chosen(recipe(), hardware.stated("b200-180g", count=1)),
            chosen(recipe(), H200),
            chosen(recipe(), H100),
        )
    ]
    assert rungs == [("adamw", "none"), ("adamw", "selective"), ("flash_adamw", "none")]
    # Four to six thousand tokens, by a count of its own.
    assert 4096 <= chosen(recipe(), H100).micro_tokens <= 6144
    assert chosen(recipe(), H100, flash=False).optimizer == "adamw_bf16"


def test_the_reasons_say_what_was_too_large():
    reasons = chosen(recipe(), H100).reasons
    assert reasons[0].startswith("sft: adamw without recomputation takes ")
    assert "of 75.1 GiB that can be used" in reasons[0]
    assert reasons[-1].startswith("sft takes flash_adamw without recomputation, at most ")


def test_what_is_stated_is_judged_and_never_changed():
    stated = chosen(recipe(sft__optimizer="adamw", sft__micro_batch_tokens=4096), H100)
    assert (stated.optimizer, stated.fits, stated.micro_tokens) == ("adamw", False, 4096)
    by_number = chosen(recipe(sft__micro_batch_size=4, sft__gradient_checkpointing=True), H200)
    assert (by_number.checkpointing, by_number.micro_tokens) == ("full", 4 * 2048)
    settled = by_number.applied(recipe(sft__micro_batch_size=4), "sft").sft
    assert (settled.micro_batch_size, settled.micro_batch_tokens) == (4, "auto")


def test_an_adapter_is_trained_by_float32_adamw_and_never_exchanged():
    small = hardware.stated("rtx4090-24g", count=1)
    found = chosen(recipe("zephyr-7b-qlora"), small, stage="sft")
    assert (found.optimizer, found.fits) == ("adamw", True)
    assert found.load.four_bit
    full = chosen(recipe(), small)
    assert not full.fits
    assert full.load.work.trained == "weights"


def test_float32_products_and_a_gpu_without_bfloat16_rule_out_bfloat16_weights():
    old = hardware.stated("v100-32g", count=1)
    assert chosen(recipe(), old).optimizer == "adamw"
    assert chosen(recipe(model__dtype="float32"), H100).optimizer == "adamw"


def test_a_resumed_training_keeps_its_optimizer():
    assert chosen(recipe(), H200, keep="adamw_bf16").optimizer == "adamw_bf16"


def test_as_many_tokens_as_fit_are_taken_and_no_more_than_a_step_has():
    costs = Costs(1000, 300.0, 300.0, 900, 4800, 0.6)
    assert chosen(recipe(), H100, costs=costs).micro_tokens == 4800
    found = chosen(recipe(), H100)
    larger = choose._at(
        Setting(recipe(), "sft", MISTRAL, H100, None),
        choose.Rung("single", found.optimizer, found.checkpointing),
        found.micro_tokens + 64,
    )
    assert found.micro_tokens == choose.MOST_TOKENS_ON_GPU or not larger.fits
    assert chosen(recipe("tiny"), CPU, model=KNOWN["tiny"]).micro_tokens <= 8192


def test_shared_prompts_are_planned_where_rows_are_joined():
    assert choose.layout_of(recipe(), "dpo", MISTRAL).shared
    assert not choose.layout_of(recipe(dpo__prefix_sharing=False), "dpo", MISTRAL).shared
    assert not choose.layout_of(recipe(model__attention="eager"), "dpo", MISTRAL).padding_free


# -------------------------------------------------------------------------------- calibration


def test_without_a_measured_gpu_nothing_is_corrected():
    assert calibration.read() == []
    found = chosen(recipe(), H100)
    assert calibration.corrected(found.peak, None) is found.peak


def test_a_measured_gpu_corrects_speed_and_activations_but_no_states(tmp_path: Path):
    before = chosen(recipe(), H100)
    parts = before.peak.parts
    passing = parts["activations"] + parts["head"] + parts["working"]
    result = {
        "gpu": "h100-80g",
        "torch": "2.13.0+cu130",
        "mode": "sft full",
        "mfu": 0.45,
        "peak_memory_bytes": before.peak.allocated + 0.2 * passing,
        "predicted": parts,
    }
    entry = calibration.measured(json.loads(json.dumps(result)), source="results/x.json")
    assert (entry.torch, entry.activations) == ("2.13", pytest.approx(1.2))
    calibration.write(calibration.merged([], entry), tmp_path / "table.json")
    (again,) = calibration.read(tmp_path / "table.json")
    assert again == entry
    corrected = calibration.corrected(before.peak, again)
    assert corrected.activations == pytest.approx(1.2 * before.peak.activations)
    assert corrected.weights == before.peak.weights
    machine = plan.Machine(H100, 0.4, flash=True, torch="2.13.1", gpu="h100-80g", table=(again,))
    data = workload.known_data(recipe(), tmp_path)
    made, _ = plan.plan_stage(recipe(), "sft", MISTRAL, machine, data=data["sft"])
    assert made.mfu == 0.45
    assert calibration.find([again], gpu="h100-80g", torch="2.12.0", mode="sft full") is None


def test_a_second_measurement_replaces_the_first():
    first = Entry("h100-80g", "2.13", "sft full", 0.4)
    assert calibration.merged([first], Entry("h100-80g", "2.13", "sft full", 0.5))[0].mfu == 0.5
    assert len(calibration.merged([first], Entry("h100-80g", "2.13", "dpo full", 0.5))) == 2


def test_a_result_without_what_is_needed_is_refused():
    with pytest.raises(DataError, match="lacks what a calibration needs"):
        calibration.measured({"gpu": "h100-80g"}, source="x.json")
