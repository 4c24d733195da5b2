"""Counts of weights and FLOPs against numbers worked out by hand and published sizes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from zephyrctl.planning import architecture, flops
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


def test_a_model_without_a_decoders_sizes_and_an_unknown_name_are_not_guessed(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"n_embd": 768, "n_layer": 12}', encoding="utf-8")
    assert architecture.find("gpt2", folder=tmp_path) is None
    assert architecture.find("owner/unknown", folder=None) is None


def test_an_adapter_on_named_layers_and_doras_magnitudes_are_counted():
    each = 16 * (4096 + 4096 + 4096 + 1024)
    assert MISTRAL.adapter(16, targets=("q_proj", "v_proj")) == 32 * each
    outputs = 4096 + 1024 + 1024 + 4096 + 2 * 14336 + 4096
    assert MISTRAL.adapter(16, dora=True) - MISTRAL.adapter(16) == 32 * outputs
    # transformers 5 keeps experts in one tensor, which LoRA's linear layers do not reach.
    mixtral = KNOWN["mistralai/mixtral-8x7b-v0.1"]
    assert mixtral.adapter(16) == 32 * 16 * 2 * (4096 + 4096 + 4096 + 1024)


@pytest.mark.parametrize(("rank", "millions"), [(16, 42), (64, 168), (128, 336)])
def test_lora_on_all_linear_layers_of_mistral(rank, millions):
    assert MISTRAL.adapter(rank) / 1e6 == pytest.approx(millions, rel=0.005)


# Floors for Mistral-7B, worked out apart from this code: GFLOPs per token at a mean context of 852.
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


def test_selective_recomputation_does_not_repeat_attention():
    whole, selective, none = (
        flops.training(MISTRAL, flops.Work("weights", again), context=2048)
        for again in (True, "selective", False)
    )
    attention = 4 * 32 * 32 * 128 * 2048
    assert whole - selective == pytest.approx(attention)
    assert selective - none == pytest.approx(2 * MISTRAL.layer_matmul)
