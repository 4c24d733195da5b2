"""A chain whose base is stored in 16 bits: computed in float32, and never held in it whole."""

import shutil
from pathlib import Path

import pytest
import torch
from tests.publishing.conftest import AddAdapter
from transformers import AutoModelForCausalLM

from zephyrctl.generation.adapters import Chain, chain_of
from zephyrctl.generation.weights import load_base, merged
from zephyrctl.publishing import chains
from zephyrctl.publishing.agreement import log_probs

ROWS = [list(range(5, 40)), list(range(100, 120))]


@pytest.fixture(scope="module")
def half_base(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model stored in bfloat16."""
    folder = tmp_path_factory.mktemp("half") / "base"
    shutil.copytree(tiny_base, folder)
    AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.bfloat16).save_pretrained(folder)
    return folder


def test_16_bits_compute_as_float32_and_are_summed_with_adapters_before_they_are_rounded(
    half_base: Path, adapter: Path, add_adapter: AddAdapter, tmp_path: Path
) -> None:
    upper = add_adapter(tmp_path / "upper", below=adapter)
    chain = Chain(str(half_base), chain_of(str(upper)).adapters)
    whole = load_base(str(half_base), dtype=torch.float32)
    for part in chain.adapters:
        whole = merged(whole, part)
    live = chains.unmerged(chain)
    assert live.model.get_input_embeddings().weight.dtype == torch.bfloat16
    torch.testing.assert_close(
        log_probs(live.model, ROWS), log_probs(whole, ROWS), atol=1e-4, rtol=0
    )
    assert live.model.get_input_embeddings().weight.dtype == torch.bfloat16
    summed = live.summed()
    for name, weight in whole.named_parameters():
        torch.testing.assert_close(summed.weight(name), weight, atol=1e-6, rtol=1e-5)
    stored = summed.cast(torch.float16)
    for name, weight in whole.named_parameters():
        got = stored.get_parameter(name)
        assert got.dtype == torch.float16
        torch.testing.assert_close(got.float(), weight.half().float(), atol=1e-6, rtol=1e-3)


def test_an_adapter_that_does_more_than_to_add_is_computed_with_all_in_float32(
    half_base: Path, add_adapter: AddAdapter, tmp_path: Path
) -> None:
    dora = add_adapter(tmp_path / "dora", dora=True)
    live = chains.unmerged(Chain(str(half_base), (dora,)))
    assert {weight.dtype for weight in live.model.parameters()} == {torch.float32}
    before = log_probs(live.model, ROWS)
    plain = live.summed().cast(torch.float32)
    torch.testing.assert_close(log_probs(plain, ROWS), before, atol=1e-4, rtol=0)
