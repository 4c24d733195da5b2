"""Which models cannot compute packed documents, and why."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tests.training.tiny_pairs import SIZES, mistral
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from zephyrctl.training import attention


@pytest.mark.parametrize(
    ("family", "changes", "reason"),
    [
        ("falcon", {"alibi": True}, "ALiBi"),
        ("falcon", {}, "not replaceable"),
        ("bloom", {}, "not replaceable"),
        ("mamba", {"state_size": 4}, "state-space"),
        ("falcon_mamba", {"state_size": 4}, "state-space"),
        ("jamba", {"use_mamba_kernels": False}, "state-space"),
        ("qwen3_next", {"head_dim": 8}, "state-space"),
        ("lfm2", {"layer_types": ["conv", "full_attention"]}, "of the kind conv"),
        ("gpt_oss", {"head_dim": 8, "num_local_experts": 2}, "attention sinks"),
        ("llama4_text", {"head_dim": 8, "num_local_experts": 2}, "of the kind chunked_attention"),
        ("gemma3_text", {"head_dim": 8, "use_bidirectional_attention": True}, "later tokens"),
    ],
)
def test_a_reason_is_given(family: str, changes: dict[str, Any], reason: str) -> None:
    with torch.device("meta"):
        config = AutoConfig.for_model(family, **SIZES | changes)
        model = AutoModelForCausalLM.from_config(config)
    found = attention.reason_against(model)
    assert found is not None
    assert reason in found


def test_an_encoder_is_a_reason() -> None:
    with torch.device("meta"):
        config = AutoConfig.for_model("t5", d_model=16, d_kv=4, num_layers=1, num_heads=2, d_ff=8)
        model = AutoModelForSeq2SeqLM.from_config(config)
    assert attention.reason_against(model) == "it has an encoder"


def test_pictures_are_a_reason() -> None:
    text = SIZES | {"head_dim": 8}
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    vision |= {"num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    with torch.device("meta"):
        config = AutoConfig.for_model("gemma3", text_config=text, vision_config=vision)
        model = AutoModelForCausalLM.from_config(config)
    assert attention.reason_against(model) == "it reads more than text"


def test_an_adapter_is_none() -> None:
    model = get_peft_model(mistral(), LoraConfig(target_modules=["q_proj"]))
    assert attention.reason_against(model) is None  # type: ignore[arg-type]
    attention.install(model)
    assert model.config._attn_implementation == attention.NAME
