"""What gradient checkpointing keeps, and that it changes no gradient."""

import copy
import importlib
from typing import Any

import pytest
import torch
from tests.training.tiny_models import documents, gradients, mistral, padded
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from zephyrctl.training import attention, recompute

pytestmark = [
    pytest.mark.train,
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*is deprecated:FutureWarning"),
]


class AttentionCalls(TorchDispatchMode):
    """Counts attention operators as they are dispatched."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func.name().partition(".")[0] in recompute.ATTENTION
        return func(*args, **kwargs or {})


def prepared(setting: str, *, packed: bool) -> Any:
    """The same model under each setting."""
    model = mistral(layers=3)
    if packed:
        attention.install(model)
    if setting == "selective":
        recompute.keep_attention(model)
    if setting != "none":
        model.activation_checkpointing_enable()
    return model


def calls(model: Any, batch: dict[str, Any]) -> tuple[int, int]:
    """Attention operators in the forward and in the backward pass."""
    with AttentionCalls() as forward:
        loss = model(**batch).loss
    with AttentionCalls() as backward:
        loss.backward()
    return forward.count, backward.count


def bytes_kept(model: Any, batch: dict[str, Any]) -> int:
    """Memory that a forward pass takes and has not given back at its end."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        loss = model(**batch).loss
    events = record.events()
    assert events is not None
    del loss
    return sum(event.self_cpu_memory_usage for event in events)


@pytest.mark.parametrize("packed", [False, True])
def test_every_setting_gives_the_same_gradients(packed: bool) -> None:
    batch = documents(5, 9, 3) if packed else padded(3, 12)
    exact = gradients(prepared("none", packed=packed), batch)
    for setting in ("full", "selective"):
        assert torch.equal(gradients(prepared(setting, packed=packed), batch), exact)


@pytest.mark.parametrize(("packed", "per_layer"), [(False, 1), (True, 3)])
def test_selective_does_not_compute_attention_again(packed: bool, per_layer: int) -> None:
    batch = documents(5, 9, 3) if packed else padded(3, 12)
    once = 3 * per_layer
    assert calls(prepared("none", packed=packed), batch) == (once, 0)
    assert calls(prepared("full", packed=packed), batch) == (once, once)
    assert calls(prepared("selective", packed=packed), batch) == (once, 0)


@pytest.mark.parametrize("packed", [False, True])
def test_selective_keeps_more_than_full_and_much_less_than_none(packed: bool) -> None:
    batch = documents(100, 60) if packed else padded(2, 80)
    kept = {
        setting: bytes_kept(prepared(setting, packed=packed), batch)
        for setting in ("none", "selective", "full")
    }
    # One tensor of the hidden size per layer, and the logarithms of its softmax sums.
    outputs = 3 * 160 * (32 + 2) * 4
    assert kept["selective"] - kept["full"] == pytest.approx(outputs, rel=0.2)
    assert kept["selective"] < 0.6 * kept["none"]


def test_switching_off_and_on_again_stays_selective() -> None:
    # As TRL's DPO does around its reference pass, with the arguments of the configuration.
    model = prepared("selective", packed=False)
    recompute.keep_attention(model)
    model.gradient_checkpointing_disable()
    assert calls(model, padded(2, 9)) == (3, 0)
    model.gradient_checkpointing_enable(None)
    assert model.is_gradient_checkpointing
    assert recompute.keeps_attention(model)
    assert calls(model, padded(2, 9)) == (3, 0)


def test_operators_are_known_by_name() -> None:
    # Names of torch 2.13; a set of names that no longer exist would recompute everything.
    known = [name for name in recompute.ATTENTION if name.startswith("aten::")]
    for name in known:
        assert hasattr(torch.ops.aten, name.removeprefix("aten::"))
    importlib.import_module("torch.nn.attention.varlen")
    policy = recompute.policy(None, torch.ops.torch_attn._varlen_attn.default)
    assert policy == torch.utils.checkpoint.CheckpointPolicy.MUST_SAVE
    policy = recompute.policy(None, torch.ops.aten.mm.default)
    assert policy == torch.utils.checkpoint.CheckpointPolicy.PREFER_RECOMPUTE


@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_a_stage_trains_alike_with_each_setting(
    make_run: Any, train_sft: Any, train_dpo: Any, stage: str
) -> None:
    losses = []
    for setting in (False, True, "selective"):
        settings = {"gradient_checkpointing": setting, "max_steps": 2}
        start = {"init_from": "base"} if stage == "dpo" else {}
        recipe, run = make_run(f"{stage}-{setting}", **{stage: settings | start})
        result = (train_sft if stage == "sft" else train_dpo)(recipe, run)
        losses.append(result.metrics["train_loss"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
    assert losses[2] == pytest.approx(losses[0], rel=1e-6)


def test_a_copy_of_the_model_switches_itself() -> None:
    model = prepared("selective", packed=False)
    twin = copy.deepcopy(model)
    twin.gradient_checkpointing_disable()
    assert model.is_gradient_checkpointing
    model.gradient_checkpointing_disable()
    twin.gradient_checkpointing_enable()
    assert not model.is_gradient_checkpointing
    assert calls(twin, padded(2, 9)) == (3, 0)
