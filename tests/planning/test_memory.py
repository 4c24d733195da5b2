"""States and activations of Mistral-7B against the floors that were worked out for it."""

from dataclasses import replace

import pytest
from trl.kernels import chunked_logprob
from trl.trainer import utils as trl_utils

from zephyrctl.planning import activations, flops, memory
from zephyrctl.planning.activations import Forward, Lora, Row
from zephyrctl.planning.architecture import KNOWN
from zephyrctl.training import fused_head

MISTRAL = KNOWN["mistralai/mistral-7b-v0.1"]
GB = 1e9
BF16 = Forward(2, 2, "weights", autocast=True)
WIDE = Forward(4, 2, "weights", autocast=True)


def load(tokens: int = 2048, **changes) -> memory.Load:
    usual = memory.Load(
        work=flops.Work("weights", recompute=True),
        forward=WIDE,
        checkpointing="full",
        optimizer="adamw",
        row=Row(tokens, tokens, tokens),
        accumulates=True,
    )
    return replace(usual, **changes)


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [("adamw", 115.9), ("flash_adamw", 50.7), ("adamw_bf16", 57.9), ("adamw_8bit", 73.0)],
)
def test_states_per_optimizer(optimizer, expected):
    assert memory.OPTIMIZERS[optimizer].total * MISTRAL.parameters / GB == pytest.approx(
        expected, abs=0.1 if optimizer != "adamw_8bit" else 0.6
    )
    narrow = optimizer in memory.OF_BF16_WEIGHTS
    peak = memory.peak(MISTRAL, load(optimizer=optimizer, forward=BF16 if narrow else WIDE))
    states = peak.weights + peak.gradients + peak.optimizer
    assert states == pytest.approx(memory.OPTIMIZERS[optimizer].total * MISTRAL.parameters)


def test_weights_references_and_adapters():
    assert memory.weights(MISTRAL, bytes_each=2, four_bit=False) / GB == pytest.approx(
        14.5, abs=0.05
    )
    copy = memory.peak(MISTRAL, load(reference_copy=True, reference_passes=True))
    assert copy.reference / GB == pytest.approx(29.0, abs=0.05)
    for rank, expected in ((16, 0.7), (64, 2.7), (128, 5.4)):
        work = flops.Work("adapter", False, adapter_parameters=MISTRAL.adapter(rank))
        how = Forward(2, 2, "adapter", autocast=True, lora=Lora(rank))
        peak = memory.peak(MISTRAL, load(work=work, forward=how, checkpointing="none"))
        states = peak.weights + peak.gradients + peak.optimizer - 2 * MISTRAL.parameters
        assert states / GB == pytest.approx(expected, abs=0.05)


def test_a_4_bit_base_takes_half_a_byte_and_its_scales():
    base = memory.weights(MISTRAL, bytes_each=2, four_bit=True)
    assert base / GB == pytest.approx(4.1 + 6.979 * 0.0465, abs=0.05)  # scales not quantized


# Activations in bfloat16, GB, each ± 20 %: tokens, kept whole, fused, recomputed.
@pytest.mark.parametrize(
    ("tokens", "whole", "fused", "recomputed"),
    [
        (1024, 6.9, 3.5, 0.5),
        (2048, 13.9, 7.1, 1.0),
        (4096, 27.8, 14.2, 1.9),
        (8192, 55.6, 28.3, 3.9),
        (16384, 111, 56.6, 7.8),
    ],
)
def test_activations_of_mistral(tokens, whole, fused, recomputed):
    row = Row(tokens, tokens, tokens)

    def gigabytes(how: Forward, *, full: bool = False) -> float:
        checkpointing = "full" if full else "none"
        kept = activations.kept(
            MISTRAL, how, row=row, checkpointing=checkpointing, layers=MISTRAL.layers
        )
        if full:  # the estimate has one layer in full beside the layers' inputs
            kept += sum(activations.layer(MISTRAL, how, row=row).values()) * tokens
        return kept / GB

    assert gigabytes(BF16) == pytest.approx(whole, rel=0.2)
    assert gigabytes(WIDE) == pytest.approx(whole, rel=0.2)
    assert gigabytes(replace(BF16, fused=True)) == pytest.approx(fused, rel=0.2)
    assert gigabytes(BF16, full=True) == pytest.approx(recomputed, rel=0.2)


def test_distributed_training_holds_the_gradients_twice():
    alone, many = (memory.peak(MISTRAL, load(distributed=flag)) for flag in (False, True))
    assert many.gradients == 2 * alone.gradients
    assert many.total - alone.total == alone.gradients


def test_gradients_stand_beside_activations_only_where_passes_are_accumulated():
    tokens = 16384
    one, more = (
        memory.peak(MISTRAL, load(tokens, checkpointing="none", accumulates=flag))
        for flag in (False, True)
    )
    assert one.activations == more.activations
    assert one.gradients < more.gradients == 4 * MISTRAL.parameters


def test_the_head_never_holds_all_logits():
    def head(labelled: int, *, on_gpu: bool) -> float:
        how = replace(BF16, on_gpu=on_gpu)
        row = Row(65536, 65536, labelled)
        return memory._tile(MISTRAL, load(forward=how, row=row))

    assert head(65536, on_gpu=True) == head(4096, on_gpu=True) == 4096 * 32768 * 2
    assert head(65536, on_gpu=False) == head(512, on_gpu=False) == 512 * 1024 * 4 * 8.25


def test_the_tiles_are_those_of_the_head_that_runs():
    assert (memory.CPU_TILE_TOKENS, memory.CPU_TILE_WORDS) == (
        fused_head.TILE_TOKENS,
        fused_head.TILE_ENTRIES,
    )
    assert chunked_logprob.TOKEN_CHUNK_SIZE == memory.TILE_TOKENS
    assert trl_utils._CHUNKED_LOGPROB_CHUNK_SIZE == memory.TILE_WORDS


def test_training_the_last_layers_keeps_and_updates_only_these():
    work = flops.Work("last_layers", False, last_layers=4)
    how = Forward(4, 4, "last_layers", on_gpu=False)
    few = memory.peak(MISTRAL, load(work=work, forward=how, checkpointing="none"))
    every = memory.peak(
        MISTRAL, load(forward=replace(how, trained="weights"), checkpointing="none")
    )
    assert few.activations == pytest.approx(every.activations / 8, rel=0.03)  # and the last norm
    assert few.gradients == 4 * (4 * MISTRAL.layer_parameters + 4096)


def test_the_prompt_that_pairs_share_is_copied_once_more_in_the_cache_of_keys():
    how = replace(BF16, attention="documents")
    plain, shared = (
        activations.layer(MISTRAL, how, row=Row(1000, 500, 500, gathered=gathered))["attention"]
        for gathered in (0, 1500)
    )
    assert shared - plain == pytest.approx(0.5 * 2 * 2 * 1024)
