"""Which kernel runs, as data."""

from dataclasses import replace

import pytest
import torch

from zephyrctl.training import attention
from zephyrctl.training.attention.choice import (
    DESCRIPTIONS,
    Kernel,
    Machine,
    Needs,
    choose,
    parameters_of_torch,
)

NEEDS = Needs(dtype=torch.bfloat16, head=128, value_head=128)
ALL: frozenset[Kernel] = frozenset(DESCRIPTIONS)
OLD = frozenset({"query", "is_causal"})
NEW = frozenset({"query", "window_size", "scale", "enable_gqa"})
A100, H100, B200 = (8, 0), (9, 0), (10, 0)


@pytest.mark.parametrize(
    ("capability", "without", "changes", "kernel"),
    [
        (H100, "", {}, "flash_attention_3"),
        (B200, "", {}, "flash_attention_4"),
        (A100, "", {}, "torch"),
        (H100, "flash_attention_3", {}, "torch"),
        (B200, "", {"window": True}, "torch"),
        (B200, "", {"head": 256, "value_head": 256}, "torch"),
        (A100, "", {"window": True, "softcap": True}, "flash_attention_2"),
        (A100, "flash_attention_2", {"softcap": True}, "loop"),
        (H100, "", {"softcap": True}, "flash_attention_3"),
        (H100, "", {"dtype": torch.float32}, "loop"),
        (H100, "", {"dropout": True}, "loop"),
        (H100, "", {"value_head": 64}, "loop"),
        (H100, "", {"head": 512, "value_head": 512}, "loop"),
        (H100, "", {"head": 100, "value_head": 100}, "loop"),
        ((7, 5), "", {}, "loop"),
        (None, "", {}, "loop"),
    ],
)
def test_the_fastest_exact_kernel_is_chosen(
    capability: tuple[int, int] | None, without: str, changes: dict[str, object], kernel: Kernel
) -> None:
    machine = Machine(capability=capability, installed=ALL - {without}, torch_takes=NEW)
    assert choose(replace(NEEDS, **changes), machine) == kernel


def test_a_torch_without_windows_is_not_asked_for_one() -> None:
    machine = Machine(capability=A100, installed=ALL, torch_takes=OLD)
    assert choose(NEEDS, machine) == "torch"
    assert choose(replace(NEEDS, window=True), machine) == "flash_attention_2"


def test_a_cpu_runs_the_loop() -> None:
    assert attention.kernel(torch.device("cpu")) == "a loop of SDPA"


def test_this_torch_has_the_kernel() -> None:
    assert {"cu_seq_q", "cu_seq_k", "max_q", "max_k"} <= parameters_of_torch()
