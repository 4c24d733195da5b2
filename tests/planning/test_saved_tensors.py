"""What autograd really keeps of a forward pass, tensor by tensor, against the formulas."""

import contextlib
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from zephyrctl.planning import activations, architecture
from zephyrctl.planning.activations import Forward, Lora, Row
from zephyrctl.training import attention

TOKENS = 52
SIZES: dict[str, Any] = {
    "vocab_size": 256, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 128, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
LLAMA = {"num_key_value_heads": 2, "intermediate_size": 160}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", LLAMA),
    "llama with biases": ("llama", LLAMA | {"attention_bias": True, "mlp_bias": True}),
    "mistral": ("mistral", LLAMA | {"head_dim": 32}),
    "smollm3": ("smollm3", LLAMA),
    "qwen2": ("qwen2", LLAMA),
    "qwen3": ("qwen3", LLAMA | {"head_dim": 32}),
    "gemma": ("gemma", LLAMA | {"head_dim": 32}),
    "gemma2": ("gemma2", LLAMA | {"head_dim": 32}),
    "gemma3": ("gemma3_text", LLAMA | {"head_dim": 32}),
    "phi": ("phi", {"intermediate_size": 160}),
    "phi3": ("phi3", LLAMA),
    "falcon-7b": ("falcon", {"bias": False, "alibi": False}),
    "falcon-40b": (
        "falcon",
        {"bias": False, "alibi": False, "new_decoder_architecture": True, "num_kv_heads": 2},
    ),
    "gpt-neox": ("gpt_neox", {"intermediate_size": 160}),
    "mixtral": ("mixtral", LLAMA | {"intermediate_size": 80, "num_local_experts": 4}),
}


@dataclass(frozen=True)
class Mode:
    """Number formats and adapter of a forward pass."""

    weights: int = 4
    autocast: bool = False
    lora: Lora | None = None

    @property
    def forward(self) -> Forward:
        return Forward(
            hidden_bytes=self.weights,
            product_bytes=2 if self.autocast else self.weights,
            trained="adapter" if self.lora else "weights",
            autocast=self.autocast,
            lora=self.lora,
            on_gpu=False,
        )


MODES = {
    "float32": Mode(),
    "autocast": Mode(autocast=True),
    "bfloat16": Mode(2),
    "lora": Mode(lora=Lora(8)),
    "lora, dropout": Mode(lora=Lora(8, dropout=0.05)),
    "lora on bfloat16": Mode(2, lora=Lora(8)),
    "lora, autocast": Mode(2, autocast=True, lora=Lora(8)),
    "lora, autocast, dropout": Mode(2, autocast=True, lora=Lora(8, dropout=0.05)),
    "dora": Mode(lora=Lora(8, dora=True)),
    "dora, autocast, dropout": Mode(2, autocast=True, lora=Lora(8, dropout=0.05, dora=True)),
}


def build(family: str, mode: Mode = MODES["float32"]) -> Any:
    kind, own = FAMILIES[family]
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(
        CONFIG_MAPPING[kind](**SIZES | own),
        attn_implementation="eager" if family == "gemma2" else "sdpa",
    )
    if mode.weights == 2:
        model = model.to(torch.bfloat16)
    if mode.lora is not None:
        linear = [m.name for m in architecture.of_config(model.config.to_dict()).linear_layers]
        settings = LoraConfig(
            r=mode.lora.rank, lora_dropout=mode.lora.dropout, use_dora=mode.lora.dora,
            target_modules=linear, task_type="CAUSAL_LM",
        )  # fmt: skip
        model = get_peft_model(model, settings).get_base_model()
        for weight in model.parameters():
            weight.data = weight.data.float() if weight.requires_grad else weight.data
    return model.train()


class _Kept:
    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor


def kept_bytes(model: Any, run: Callable[[], Any], *, parts: Sequence[int] = ()) -> int:
    """Bytes of the distinct tensors that the graph holds after `run`, weights and their narrow
    copies left out: these have no dimension of as many tokens as there are, or of a part."""
    lengths = {TOKENS, TOKENS // 2, 2 * TOKENS, *parts}
    own = {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers()]}
    packed: list[weakref.ref[_Kept]] = []

    def pack(tensor: torch.Tensor) -> _Kept:
        kept = _Kept(tensor)
        packed.append(weakref.ref(kept))
        return kept

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept.tensor):
        graph = run()
    sizes = {}
    for reference in packed:
        kept = reference()
        if kept is None or not lengths & set(kept.tensor.shape):
            continue
        storage = kept.tensor.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
    del graph
    return sum(sizes.values())


def measured_and_counted(family: str, mode: Mode, *, masked: bool = False) -> tuple[int, float]:
    model = build(family, mode)
    ids = torch.randint(3, 256, (2, TOKENS // 2) if masked else (1, TOKENS))
    mask = torch.ones_like(ids)
    mask[-1, -5:] = 0
    row = Row(TOKENS, TOKENS // 2 if masked else TOKENS, 0)
    inputs = {"input_ids": ids, "use_cache": False} | ({"attention_mask": mask} if masked else {})
    context: Any = torch.autocast("cpu", torch.bfloat16) if mode.autocast else None
    with context or contextlib.nullcontext():
        measured = kept_bytes(model, lambda: model.base_model(**inputs))
    sizes = architecture.of_config(model.config.to_dict())
    assert sizes is not None
    how = mode.forward
    if masked:
        how = Forward(**vars(how) | {"attention": "masked"})
    counted = activations.kept(sizes, how, row=row, checkpointing="none", layers=sizes.layers)
    return measured, counted


@pytest.mark.parametrize("mode", MODES)
def test_a_llama_layer_is_counted_to_the_byte(mode):
    measured, counted = measured_and_counted("llama", MODES[mode])
    assert counted == measured


@pytest.mark.parametrize("family", FAMILIES)
def test_other_families_are_counted_in_float32(family):
    measured, counted = measured_and_counted(family, MODES["float32"])
    exact = family in ("llama", "mistral", "smollm3", "qwen2", "qwen3", "gemma", "gemma2", "gemma3")
    assert counted == pytest.approx(measured, rel=0.002 if exact else 0.06)


@pytest.mark.parametrize("family", ["gemma", "qwen3", "mixtral", "phi", "falcon-40b", "phi3"])
@pytest.mark.parametrize("mode", ["bfloat16", "lora, autocast, dropout"])
def test_other_families_are_counted_in_bfloat16(family, mode):
    measured, counted = measured_and_counted(family, MODES[mode])
    assert counted == pytest.approx(measured, rel=0.08)


@pytest.mark.parametrize("mode", ["float32", "autocast", "lora, autocast, dropout"])
def test_padded_rows_keep_a_mask_and_repeated_keys(mode):
    measured, counted = measured_and_counted("llama", MODES[mode], masked=True)
    assert counted == pytest.approx(measured, rel=0.01)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_weights_of_every_family_are_counted_exactly(family):
    model = build(family)
    sizes = architecture.of_config(model.config.to_dict())
    assert sizes is not None
    assert sizes.parameters == sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize("family", ["llama", "phi3", "falcon-7b", "mixtral"])
def test_the_weights_of_an_adapter_are_counted_exactly(family):
    for lora in (Lora(8), Lora(4, dora=True)):
        model = build(family, Mode(lora=lora))
        sizes = architecture.of_config(model.config.to_dict())
        trained = sum(w.numel() for w in model.parameters() if w.requires_grad)
        assert sizes is not None
        assert sizes.adapter(lora.rank, dora=lora.dora) == trained


@pytest.mark.parametrize("mode", ["float32", "lora"])
def test_documents_in_one_row_keep_their_own_output_beside_the_joined_one(mode):
    model = build("llama", MODES[mode])
    attention.install(model)
    starts = torch.tensor([0, 20, 45, TOKENS], dtype=torch.int32)
    positions = torch.cat([torch.arange(n) for n in starts.diff().tolist()])
    inputs = {
        "input_ids": torch.randint(3, 256, (1, TOKENS)), "position_ids": positions[None],
        "cu_seq_lens_q": starts, "cu_seq_lens_k": starts, "max_length_q": 25, "max_length_k": 25,
        "use_cache": False,
    }  # fmt: skip
    sizes = architecture.of_config(model.config.to_dict())
    assert sizes is not None
    how = Forward(**vars(MODES[mode].forward) | {"attention": "loop"})
    counted = activations.kept(
        sizes, how, row=Row(TOKENS, 25, 0), checkpointing="none", layers=sizes.layers
    )
    measured = kept_bytes(model, lambda: model.base_model(**inputs), parts=starts.diff().tolist())
    assert counted == pytest.approx(measured, rel=0.01)
