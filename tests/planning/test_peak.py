"""The predicted peak of a training step against the bytes that torch's CPU allocator really held.

States, activations and the head of three models of different shape, by the allocator's own events:
nothing of the formulas was fitted to them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.profiler import ProfilerActivity, profile
from transformers import CONFIG_MAPPING, AutoModelForCausalLM
from trl.models import enable_selective_activation_checkpointing
from trl.trainer import utils as trl_utils

from zephyrctl.planning import architecture, flops, memory
from zephyrctl.planning.activations import Checkpointing, Forward, Lora, Row
from zephyrctl.planning.memory import Load
from zephyrctl.training.fused_head import labelled_positions_only

TOKENS, LABELLED = 256, 128
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "wide": (
        "llama",
        {"vocab_size": 512, "hidden_size": 128, "intermediate_size": 344, "num_hidden_layers": 3,
         "num_attention_heads": 4, "num_key_value_heads": 2},
    ),
    "deep": (
        "mistral",
        {"vocab_size": 256, "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 8,
         "num_attention_heads": 4, "num_key_value_heads": 4, "sliding_window": None},
    ),
    "many words": (
        "qwen2",
        {"vocab_size": 6000, "hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 2,
         "num_attention_heads": 6, "num_key_value_heads": 2, "tie_word_embeddings": True},
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """How a step is computed."""

    checkpointing: Checkpointing = "none"
    passes: int = 1
    lora: Lora | None = None


CASES = {
    "whole": Case(),
    "accumulated": Case(passes=2),
    "lora": Case(lora=Lora(8, dropout=0.05)),
    "selective": Case("selective", passes=2),
    "full": Case("full"),
    "full, lora": Case("full", lora=Lora(8, dropout=0.05)),
}


def trained_model(shape: str, case: Case) -> Any:
    kind, sizes = SHAPES[shape]
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(
        CONFIG_MAPPING[kind](**sizes, pad_token_id=0, bos_token_id=1, eos_token_id=2),
        attn_implementation="sdpa",
    )
    trl_utils.add_fused_lm_head(model)
    if case.lora is not None:
        settings = LoraConfig(
            r=case.lora.rank, lora_dropout=case.lora.dropout, target_modules="all-linear",
            task_type="CAUSAL_LM",
        )  # fmt: skip
        model = get_peft_model(model, settings).get_base_model()
    if case.checkpointing == "selective":
        enable_selective_activation_checkpointing(model)
    if case.checkpointing != "none":
        model.gradient_checkpointing_enable({"use_reentrant": False})
        if case.lora is not None:
            model.enable_input_require_grads()
    return model.train()


def held_at_most(run: Callable[[], None]) -> int:
    """Most bytes that the allocator held during `run`, above what it held before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        run()
    found: Any = recorded.profiler
    events = [e for e in found.kineto_results.events() if e.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def measure(shape: str, case: Case) -> int:
    """Bytes at the fullest moment of the second step, weights and optimizer included."""
    model = trained_model(shape, case)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, fused=True)
    ids = torch.randint(3, model.config.vocab_size, (1, TOKENS))
    labels = ids.clone()
    labels[:, : TOKENS - LABELLED] = -100

    def step() -> None:
        for _ in range(case.passes):
            model(input_ids=ids, labels=labels, fused_lm_head=True).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    with labelled_positions_only("cpu"):
        step()
        stands = {t.data_ptr(): t.nbytes for t in [*model.parameters(), *model.buffers()]}
        states = [t for state in optimizer.state.values() for t in state.values()]
        return sum(stands.values()) + sum(t.nbytes for t in states) + held_at_most(step)


def predict(shape: str, case: Case) -> memory.Peak:
    kind, own = SHAPES[shape]
    sizes = architecture.of_config(CONFIG_MAPPING[kind](**own).to_dict())
    assert sizes is not None
    trained: Any = "adapter" if case.lora else "weights"
    adapter = sizes.adapter(case.lora.rank) if case.lora else 0
    load = Load(
        work=flops.Work(trained, case.checkpointing != "none", adapter_parameters=adapter),
        forward=Forward(4, 4, trained, lora=case.lora, on_gpu=False),
        checkpointing=case.checkpointing,
        optimizer="adamw",
        row=Row(TOKENS, TOKENS, LABELLED),
        accumulates=case.passes > 1,
        overhead=0,
    )
    return memory.peak(sizes, load)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_predicted_peak_is_the_one_that_is_held(shape, case):
    measured = measure(shape, CASES[case])
    predicted = predict(shape, CASES[case])
    assert predicted.allocated == pytest.approx(measured, rel=0.1)
    if predicted.moment == "the output head":  # every tensor there is counted
        assert predicted.allocated == pytest.approx(measured, rel=0.01)
