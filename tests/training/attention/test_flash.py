"""What CUDA kernels are told, as data; nothing here runs them."""

import inspect
import math
from typing import Any

import pytest
import torch
from torch.nn.attention import varlen

from zephyrctl.training.attention.documents import Documents, Form
from zephyrctl.training.attention.flash import attend, flash_arguments, torch_arguments

TORCH_2_10 = "query key value cu_seq_q cu_seq_k max_q max_k is_causal return_aux"
TORCH_2_11 = "query key value cu_seq_q cu_seq_k max_q max_k return_aux scale window_size"
TORCH_2_12 = TORCH_2_11 + " enable_gqa"
STARTS = torch.tensor([0, 3], dtype=torch.int32)
ROW = Documents(starts_q=STARTS, starts_k=STARTS, longest_q=3, longest_k=3)


@pytest.mark.parametrize(
    ("signature", "form", "expected"),
    [
        (TORCH_2_10, Form(scale=0.25), ({"is_causal": True}, 2.0, 4)),
        (TORCH_2_11, Form(scale=0.25), ({"window_size": (-1, 0), "scale": 0.25}, 1.0, 4)),
        (TORCH_2_11, Form(scale=0.25, window=8), ({"window_size": (7, 0), "scale": 0.25}, 1.0, 4)),
        (
            TORCH_2_12,
            Form(scale=0.25, window=8),
            ({"window_size": (7, 0), "scale": 0.25, "enable_gqa": True}, 1.0, 1),
        ),
    ],
)
def test_torch_is_told_by_its_signature(signature: str, form: Form, expected: Any) -> None:
    assert torch_arguments(signature.split(), form=form, head=64, groups=4) == expected


def test_the_installed_torch_takes_what_it_is_told() -> None:
    signature = inspect.signature(varlen.varlen_attn)
    form = Form(scale=1 / math.sqrt(64), window=8)
    arguments, factor, repeated = torch_arguments(
        signature.parameters, form=form, head=64, groups=4
    )
    signature.bind(*[None] * 7, **arguments)
    assert (factor, repeated) == (1.0, 1)


def test_flash_attention_is_told_by_its_signature() -> None:
    common = {"cu_seqlens_q": STARTS, "cu_seqlens_k": STARTS, "softmax_scale": 0.5, "causal": True}
    with_lengths = ["q", "k", "v", "max_seqlen_q", "max_seqlen_k"]
    plain = Form(scale=0.5)
    assert flash_arguments(["q", "k", "v"], documents=ROW, form=plain) == common
    assert flash_arguments(with_lengths, documents=ROW, form=plain) == common | {
        "max_seqlen_q": 3, "max_seqlen_k": 3,
    }  # fmt: skip
    bent = Form(scale=0.5, window=2, softcap=30.0)
    assert flash_arguments(["q", "k", "v"], documents=ROW, form=bent) == common | {
        "window_size": (1, 0), "softcap": 30.0,
    }  # fmt: skip


def test_shapes_through_the_installed_kernel() -> None:
    """Shapes alone, forward and backward; no number is computed."""
    with torch.device("meta"):
        query, key, value = (
            torch.empty(1, heads, 10, 64, dtype=torch.bfloat16, requires_grad=True)
            for heads in (8, 2, 2)
        )
        told = Documents(
            starts_q=torch.empty(3, dtype=torch.int32),
            starts_k=torch.empty(3, dtype=torch.int32),
            longest_q=6,
            longest_k=7,
            kv_index=torch.empty(13, dtype=torch.int64),
        )
    form = Form(scale=0.125, window=4)
    out = attend("torch", query, key, value, documents=told, form=form)
    assert out.shape == (1, 10, 8, 64)
    gradients = torch.autograd.grad(out.sum(), (query, key, value))
    assert [g.shape for g in gradients] == [query.shape, key.shape, value.shape]
