"""A chain whose base is stored in 16 bits: computed in float32, and never held in it whole."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tests.publishing.conftest import AddAdapter
from transformers import AutoModelForCausalLM, LlamaConfig

from zephyrctl.errors import EnvironmentProblem
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


@pytest.fixture(scope="module")
def tied_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose embedding is its output layer too."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "vocab_size": 128, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
        "num_attention_heads": 4, "initializer_range": 0.2, "tie_word_embeddings": True,
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("tied") / "base"
    AutoModelForCausalLM.from_config(LlamaConfig(**sizes)).to(torch.bfloat16).save_pretrained(
        folder
    )
    return folder


def lora(folder: Path, base: Path, **settings: Any) -> Path:
    peft: Any = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
        LoraConfig(r=4, task_type="CAUSAL_LM", **settings),
    )
    for weight in peft.parameters():
        if weight.requires_grad:
            weight.data += torch.randn_like(weight) * 0.1
    peft.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("targets", [["lm_head"], ["embed_tokens"], ["embed_tokens", "lm_head"]])
def test_an_adapter_on_one_of_two_tied_weights_changes_that_one_alone(
    targets: list[str], tied_base: Path, tmp_path: Path
) -> None:
    part = lora(tmp_path / "part", tied_base, target_modules=["q_proj", *targets])
    live = chains.unmerged(Chain(str(tied_base), (part,)))
    rows = [list(range(5, 40)), list(range(60, 80))]
    before = log_probs(live.model, rows)
    plain = live.summed().cast(torch.float32)
    assert not plain.config.tie_word_embeddings
    plain.save_pretrained(tmp_path / "out")
    again = chains.unmerged(Chain(str(tmp_path / "out"))).model
    torch.testing.assert_close(log_probs(again, rows), before, atol=1e-4, rtol=0)


@pytest.mark.filterwarnings("ignore:Adapter 'default'")  # PEFT takes the bias for a broken tensor
def test_an_adapter_that_adds_a_bias_where_there_is_none_is_refused_in_a_sentence(
    tied_base: Path, tmp_path: Path
) -> None:
    part = lora(tmp_path / "part", tied_base, target_modules=["q_proj"], lora_bias=True)
    with pytest.raises(EnvironmentProblem, match=r"cannot be merged: .* has no bias"):
        chains.unmerged(Chain(str(tied_base), (part,))).summed()
