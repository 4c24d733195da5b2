"""Attention over documents by a loop of SDPA, against the formula."""

import math
from typing import Any

import pytest
import torch
from tests.training.tiny_pairs import relative

from zephyrctl.training.attention import segments
from zephyrctl.training.attention.documents import Documents, Form


def documents(queries: list[int], keys: list[int], index: list[int] | None = None) -> Documents:
    def starts(lengths: list[int]) -> torch.Tensor:
        return torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32)

    return Documents(
        starts_q=starts(queries),
        starts_k=starts(keys),
        longest_q=max(queries),
        longest_k=max(keys),
        kv_index=None if index is None else torch.tensor(index),
    )


def by_formula(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, told: Documents, form: Form
) -> torch.Tensor:
    """Token by token, from the definition."""
    groups = query.shape[1] // key.shape[1]
    rows = range(key.shape[2]) if told.kv_index is None else told.kv_index.tolist()
    found = torch.zeros(*query.shape[:3], value.shape[3], dtype=query.dtype)
    for n in range(len(told.starts_q) - 1):
        first, last = told.starts_q[n : n + 2].tolist()
        seen = rows[told.starts_k[n] : told.starts_k[n + 1]]
        for at in range(first, last):
            sight = seen[: len(seen) - (last - 1 - at)][-(form.window or len(seen)) :]
            for head in range(query.shape[1]):
                scores = key[0, head // groups, sight] @ query[0, head, at] * form.scale
                if form.softcap:
                    scores = form.softcap * torch.tanh(scores / form.softcap)
                found[0, head, at] = scores.softmax(0) @ value[0, head // groups, sight]
    return found


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("window", [None, 3, 1])
@pytest.mark.parametrize(
    "told",
    [
        documents([4, 1, 6], [4, 1, 6]),
        documents([5, 3], [5, 5], [0, 1, 2, 3, 4, 0, 1, 5, 6, 7]),
        documents([1, 1, 2], [1, 2, 4], [0, 0, 1, 0, 1, 2, 3]),
        documents([3], [3], [2, 1, 0]),
    ],
    ids=["side by side", "one continues the other", "a chain", "reordered"],
)
def test_every_token_looks_at_what_its_document_names(
    told: Documents, window: int | None, softcap: float | None
) -> None:
    generator = torch.Generator().manual_seed(0)

    def draw(heads: int, size: int) -> torch.Tensor:
        shape = (1, heads, int(told.starts_q[-1]), size)
        return torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)

    inputs = draw(4, 8), draw(2, 8), draw(2, 6)
    form = Form(scale=1 / math.sqrt(8), window=window, softcap=softcap)
    found = segments.attend(*inputs, documents=told, form=form).transpose(1, 2)
    expected = by_formula(*inputs, told=told, form=form)
    assert relative(found, expected) < 1e-14
    factors = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    for mine, right in zip(
        torch.autograd.grad((found * factors).sum(), inputs),
        torch.autograd.grad((expected * factors).sum(), inputs),
        strict=True,
    ):
        assert relative(mine, right) < 1e-13


def test_dropout_is_not_forgotten() -> None:
    told = documents([64], [64])
    rows: Any = [torch.randn(1, 2, 64, 8) for _ in range(3)]
    torch.manual_seed(0)
    dry = segments.attend(*rows, documents=told, form=Form(scale=1.0))
    for softcap in (None, 5.0):
        form = Form(scale=1.0, softcap=softcap, dropout=0.9)
        assert not torch.allclose(segments.attend(*rows, documents=told, form=form), dry, atol=0.1)
