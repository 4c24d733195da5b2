"""Counts, FLOPs and memory against numbers worked out by hand and published sizes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from zephyrctl.planning import architecture, flops, memory
from zephyrctl.planning.architecture import KNOWN

MISTRAL = KNOWN["mistralai/mistral-7b-v0.1"]
GB = 1e9


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("mistralai/mistral-7b-v0.1", 7_241_732_096),
        ("meta-llama/meta-llama-3-8b", 8_030_261_248),
        ("mistralai/mixtral-8x7b-v0.1", 46_702_792_704),
        ("huggingfacetb/smollm2-135m", 134_515_008),
        ("huggingfacetb/smollm2-360m", 361_821_120),
        ("huggingfacetb/smollm2-1.7b", 1_711_376_384),
    ],
)
def test_parameters_are_those_of_the_published_checkpoints(name, published):
    assert KNOWN[name].parameters == published


def test_a_folder_is_counted_from_its_own_files(tiny_base: Path):
    from zephyrctl.models import tiny

    found = architecture.find("anything", folder=tiny_base)
    assert found is not None
    config = json.loads((tiny_base / "config.json").read_text(encoding="utf-8"))
    shapes = tiny.weight_shapes(config).values()
    total = sum(shape[0] * (shape[1] if len(shape) > 1 else 1) for shape in shapes)
    assert found.parameters == total
    assert replace(found, exact=None).parameters == total  # the formula agrees with the file


def test_another_family_and_an_unknown_name_are_not_guessed(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"n_embd": 768, "n_layer": 12}', encoding="utf-8")
    assert architecture.find("gpt2", folder=tmp_path) is None
    assert architecture.find("owner/unknown", folder=None) is None


@pytest.mark.parametrize(("rank", "millions"), [(16, 42), (64, 168), (128, 336)])
def test_lora_on_all_linear_layers_of_mistral(rank, millions):
    assert MISTRAL.adapter(rank) / 1e6 == pytest.approx(millions, rel=0.005)


# The floors for Mistral-7B in performance.md §3: GFLOPs per token at a mean context of 852.
@pytest.mark.parametrize(
    ("trained", "recompute", "expected"),
    [
        ("weights", False, 44.0),
        ("weights", True, 58.3),
        ("adapter", False, 29.4),
        ("adapter", True, 43.7),
    ],
)
def test_flops_per_token_of_mistral(trained, recompute, expected):
    work = flops.Work(trained, recompute)
    assert flops.training(MISTRAL, work, context=852) / GB == pytest.approx(expected, rel=0.005)


def test_flops_of_a_dpo_pair_with_its_reference():
    work = flops.Work("weights", recompute=True)
    context = 818 / 4
    token = flops.training(MISTRAL, work, context=context)
    token += flops.forward(MISTRAL, context=context)
    assert 818 * token / 1e12 == pytest.approx(58.4, rel=0.005)


def test_training_only_the_last_layers_costs_between_forward_and_full():
    model = KNOWN["huggingfacetb/smollm2-135m"]
    forward = flops.forward(model, context=48)
    full = flops.training(model, flops.Work("weights", False), context=48)
    last = flops.training(model, flops.Work("last_layers", False, last_layers=6), context=48)
    assert forward < last < 0.65 * full


def load(**changes) -> memory.Load:
    usual = memory.Load(
        work=flops.Work("weights", recompute=True),
        weight_bytes=4,
        compute_bytes=4,
        four_bit=False,
        optimizer="adamw",
        micro_tokens=2048,
        reference_copy=False,
        distributed=False,
        on_gpu=True,
    )
    return replace(usual, **changes)


def test_float32_master_weights_take_16_bytes_each():
    peak = memory.peak(MISTRAL, load())
    assert (peak.weights + peak.gradients + peak.optimizer) / GB == pytest.approx(115.9, abs=0.05)
    assert memory.peak(MISTRAL, load(reference_copy=True)).reference / GB == pytest.approx(
        29.0, abs=0.05
    )


def test_qlora_base_takes_4_1_gigabytes():
    base = memory.weights(MISTRAL, bytes_each=2, four_bit=True)
    assert base / GB == pytest.approx(4.1, abs=0.05)


# Activations in bfloat16, GB: tokens, kept whole, recomputed.
@pytest.mark.parametrize(
    ("tokens", "whole", "recomputed"), [(1024, 6.9, 0.5), (4096, 27.8, 1.9), (16384, 111, 7.8)]
)
def test_activations_of_mistral(tokens, whole, recomputed):
    def gigabytes(recompute: bool) -> float:
        work = flops.Work("weights", recompute)
        found = load(work=work, compute_bytes=2, micro_tokens=tokens)
        return memory.activations(MISTRAL, found) / GB

    assert gigabytes(False) == pytest.approx(whole, rel=0.02)
    assert gigabytes(True) == pytest.approx(recomputed, rel=0.04)


def test_distributed_training_holds_the_gradients_twice():
    alone, many = (memory.peak(MISTRAL, load(distributed=flag)) for flag in (False, True))
    assert many.gradients == 2 * alone.gradients
    assert many.total - alone.total == alone.gradients
