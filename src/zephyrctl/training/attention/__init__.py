"""Can a model compute several documents in one row, without padding and without mixing them?

`install` gives a transformers model an attention that is told by keyword which rows belong
together; without those keywords it is `sdpa`.
"""

from typing import Any

import torch

from zephyrctl.training.attention import registration
from zephyrctl.training.attention.choice import DESCRIPTIONS, Needs, choose, machine_of
from zephyrctl.training.attention.registration import NAME
from zephyrctl.training.attention.support import reason_against

__all__ = ["NAME", "install", "kernel", "reason_against"]


def install(model: Any) -> None:
    """Give `model` this attention for good.

    It is never taken back or toggled: gradient checkpointing reads the name again in the backward
    pass.
    """
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    registration.register()
    registration.watch(plain.base_model)
    plain.set_attn_implementation(NAME)


def kernel(device: torch.device, *, dtype: torch.dtype = torch.bfloat16, head: int = 128) -> str:
    """What computes attention over documents on `device`, in words; decided layer by layer from
    the number format of queries, the size of a head, windows and soft-caps."""
    needs = Needs(dtype=dtype, head=head, value_head=head)
    return DESCRIPTIONS[choose(needs, machine_of(device))]
