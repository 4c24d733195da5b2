"""Weights in 8 and 4 bits: what is asked for, and where it is refused."""

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from zephyrctl.chat.talker import open_local
from zephyrctl.config.schema import Recipe
from zephyrctl.errors import EnvironmentProblem, UsageError
from zephyrctl.generation import quantized
from zephyrctl.generation.adapters import adds_up, chain_of
from zephyrctl.generation.weights import load_base, merged, side_by_side
from zephyrctl.runs.references import ModelRef

HAS_IT = importlib.util.find_spec("bitsandbytes") is not None


@pytest.fixture
def chain(tiny_base: Path, tmp_path: Path) -> Path:
    """The folder of a LoRA adapter that stands on another one."""
    below = str(tiny_base)
    for name in ("sft", "dpo"):
        torch.manual_seed(len(name) + ord(name[0]))
        model = AutoModelForCausalLM.from_pretrained(tiny_base)
        config = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
        get_peft_model(model, config).save_pretrained(str(tmp_path / name))
        _say(tmp_path / name, base_model_name_or_path=below)
        below = str(tmp_path / name)
    return tmp_path / "dpo"


def _say(adapter: Path, **settings: object) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


@pytest.fixture
def pretend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Puts a package named bitsandbytes, with the text given, before any other."""
    before = sys.modules.pop("bitsandbytes", None)

    def put(text: str) -> None:
        (tmp_path / "bitsandbytes").mkdir()
        (tmp_path / "bitsandbytes" / "__init__.py").write_text(text)
        monkeypatch.syspath_prepend(str(tmp_path))

    yield put
    sys.modules.pop("bitsandbytes", None)
    if before is not None:
        sys.modules["bitsandbytes"] = before


def test_four_bits_are_those_that_training_uses() -> None:
    arguments = quantized.arguments("4bit", compute_dtype="bfloat16")
    asked = BitsAndBytesConfig(**arguments)
    assert (asked.load_in_4bit, asked.load_in_8bit) == (True, False)
    assert asked.bnb_4bit_quant_type == "nf4"
    assert asked.bnb_4bit_compute_dtype == torch.bfloat16
    assert asked.bnb_4bit_use_double_quant is False


def test_eight_bits_are_asked_for_alone() -> None:
    asked = BitsAndBytesConfig(**quantized.arguments("8bit", compute_dtype="float32"))
    assert (asked.load_in_4bit, asked.load_in_8bit) == (False, True)


@pytest.mark.skipif(HAS_IT, reason="bitsandbytes is installed")
@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_without_the_package_the_chat_says_what_is_missing(
    bits: quantized.Bits, tiny_base: Path
) -> None:
    ref = ModelRef("m", "folder", str(tiny_base))
    with pytest.raises(EnvironmentProblem, match="need the package bitsandbytes") as caught:
        open_local(ref, recipe=Recipe(), device="cpu", quantize=bits)
    assert "zephyrctl[cuda]" in str(caught.value.hint)


@pytest.mark.skipif(not HAS_IT, reason="bitsandbytes is not installed")
@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_a_chain_over_a_quantized_base_is_smaller_and_answers(
    bits: quantized.Bits, chain: Path, tiny_base: Path
) -> None:
    ref = ModelRef("m", "folder", str(chain))
    whole = open_local(ref, recipe=Recipe(), device="cpu")
    small = open_local(ref, recipe=Recipe(), device="cpu", quantize=bits)
    assert small.engine.dtype.startswith(f"{bits[0]}-bit")
    assert (small.weight_bytes or 0) < (whole.weight_bytes or 0)
    ids = torch.tensor([[5, 6, 7]])
    one, other = whole.engine.model(ids).logits[0, -1], small.engine.model(ids).logits[0, -1]
    assert torch.cosine_similarity(one, other, dim=0) > 0.9


def test_a_device_without_kernels_is_refused(pretend: Callable[[str], None]) -> None:
    pretend("supported_torch_devices = {'cuda'}")
    with pytest.raises(EnvironmentProblem, match="does not compute on the device 'cpu'") as caught:
        quantized.require("4bit", device="cpu")
    assert "--device cuda" in str(caught.value.hint)
    quantized.require("4bit", device="cuda")


def test_an_old_release_is_taken_for_cuda_alone(pretend: Callable[[str], None]) -> None:
    pretend("")
    quantized.require("8bit", device="cuda")
    with pytest.raises(EnvironmentProblem, match="'mps'"):
        quantized.require("8bit", device="mps")


def test_a_package_that_does_not_load_is_one_error(pretend: Callable[[str], None]) -> None:
    pretend("raise RuntimeError('no library for CUDA 99')")
    with pytest.raises(EnvironmentProblem, match="no library for CUDA 99"):
        quantized.require("8bit", device="cuda")


def test_adapters_side_by_side_are_those_merged_one_after_the_other(chain: Path) -> None:
    found = chain_of(str(chain))
    assert len(found.adapters) == 2
    ids = torch.tensor([[5, 6, 7, 8]])
    plain = load_base(found.base, dtype=torch.float32)
    alone = plain(ids).logits
    summed = side_by_side(plain, found.adapters).get_base_model()(ids).logits
    one = load_base(found.base, dtype=torch.float32)
    for adapter in found.adapters:
        one = merged(one, adapter)
    torch.testing.assert_close(summed, one(ids).logits, atol=1e-4, rtol=1e-4)
    assert (summed - alone).abs().max() > 0.1


def test_adapters_that_do_not_add_up_are_refused(chain: Path) -> None:
    quantized.require_sum(chain_of(str(chain)))
    _say(chain, use_dora=True)
    assert not adds_up(chain_of(str(chain)))
    with pytest.raises(UsageError, match="do not add up") as caught:
        quantized.require_sum(chain_of(str(chain)))
    assert "export merged" in str(caught.value.hint)
    _say(chain, base_model_name_or_path=chain_of(str(chain)).base)
    quantized.require_sum(chain_of(str(chain)))  # one alone has nothing to add up with
