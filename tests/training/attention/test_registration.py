"""transformers' decoders under the registered attention: documents, padded batches, generation."""

from typing import Any

import pytest
import torch
from tests.training.tiny_pairs import SIZES, VOCABULARY
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.models.mistral import modeling_mistral

from zephyrctl.errors import JobFailed
from zephyrctl.training import attention

WINDOWED = {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]}
GEMMA = {"head_dim": 8, "query_pre_attn_scalar": 8} | WINDOWED
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": 4},
    "mixtral": {"num_local_experts": 2},
    "qwen2": WINDOWED | {"use_sliding_window": True},
    "qwen3": {"head_dim": 8},
    "gemma": {"head_dim": 8},
    "gemma2": GEMMA | {"attn_logit_softcapping": 1.0},
    "gemma3_text": GEMMA,
    "phi": {},
    "phi3": {},
    "smollm3": {},
    "gpt_neox": {},
}
DOCUMENTS = ([5, 6, 7, 8, 9, 10, 11], [12], [13, 14, 15, 16])


def build(family: str, **changes: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **SIZES | FAMILIES.get(family, {}) | changes)
    return AutoModelForCausalLM.from_config(config).eval()


def in_one_row() -> dict[str, Any]:
    """As TRL's collator for padding-free SFT tells of documents."""
    starts = torch.tensor([0, 7, 8, 12], dtype=torch.int32)
    return {
        "input_ids": torch.tensor([[n for ids in DOCUMENTS for n in ids]]),
        "position_ids": torch.tensor([[n for ids in DOCUMENTS for n in range(len(ids))]]),
        "cu_seq_lens_q": starts, "cu_seq_lens_k": starts, "max_length_q": 7, "max_length_k": 7,
    }  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_documents_do_not_see_each_other(family: str) -> None:
    model = build(family)
    assert attention.reason_against(model) is None
    separate = torch.cat([model(torch.tensor([ids])).logits[0] for ids in DOCUMENTS])
    attention.install(model)
    together = model(**in_one_row(), use_cache=False).logits[0]
    torch.testing.assert_close(together, separate, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_padded_batches_are_computed_as_before(family: str) -> None:
    model = build(family)
    ids = torch.randint(3, VOCABULARY, (2, 9), generator=torch.Generator().manual_seed(0))
    ids[0, :4] = ids[1, 7:] = 0
    given = {"input_ids": ids, "attention_mask": (ids != 0).long()}
    before = model(**given).logits
    attention.install(model)
    after = model(**given).logits
    real = given["attention_mask"].bool()
    if model.config.model_type == "gemma2":  # before, that was `eager`
        torch.testing.assert_close(after[real], before[real], rtol=1e-4, atol=1e-5)
    else:
        assert torch.equal(after, before)


@pytest.mark.parametrize("family", ["mistral", "gemma2"])
def test_greedy_answers_with_padding_and_cache_are_the_same_tokens(family: str) -> None:
    model = build(family)
    ids = torch.tensor([[0, 0, 0, 5, 6], [7, 8, 9, 10, 11]])
    given = {"attention_mask": (ids != 0).long(), "max_new_tokens": 12, "do_sample": False}
    before = model.generate(ids, **given)  # type: ignore[operator]
    attention.install(model)
    assert torch.equal(model.generate(ids, **given), before)  # type: ignore[operator]


def test_rows_told_by_their_positions_alone_are_masked_as_before() -> None:
    model = build("llama")
    row = in_one_row()
    given = {name: row[name] for name in ("input_ids", "position_ids")}
    before = model(**given, use_cache=False).logits
    attention.install(model)
    assert torch.equal(model(**given, use_cache=False).logits, before)


def test_no_mask_over_the_whole_row_is_built() -> None:
    model = build("mistral")
    attention.install(model)
    seen: list[Any] = []
    layer = model.get_submodule("model.layers.0.self_attn")
    layer.register_forward_pre_hook(
        lambda _, __, given: seen.append(given["attention_mask"]), with_kwargs=True
    )
    model(**in_one_row(), use_cache=False)
    assert [mask.numel() for mask in seen] == [1]


def test_nothing_reaches_the_eager_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would add a boolean mask to the scores without a word."""

    def eager(*_: Any, **__: Any) -> None:
        raise AssertionError("eager attention ran")

    monkeypatch.setattr(modeling_mistral, "eager_attention_forward", eager)
    model = build("mistral", attn_implementation="eager")
    with pytest.raises(AssertionError, match="eager attention ran"):
        model(torch.tensor([[5, 6]]))
    attention.install(model)
    model.train()
    model.activation_checkpointing_enable({"use_reentrant": False})
    model(**in_one_row(), use_cache=False).logits.sum().backward()
    model.eval()
    ids = torch.tensor([[0, 5], [6, 7]])
    model(input_ids=ids, attention_mask=(ids != 0).long())
    model.generate(ids, attention_mask=(ids != 0).long(), max_new_tokens=3)  # type: ignore[operator]


def test_installing_twice_is_installing_once() -> None:
    model = build("llama")
    for _ in range(2):
        attention.install(model)
    assert len(model.base_model._forward_pre_hooks) == 1
    assert model.config._attn_implementation == attention.NAME


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"is_causal": False}, "attention to later tokens"),
        ({"s_aux": torch.zeros(4)}, "s_aux"),
        ({"position_bias": torch.zeros(1)}, "position_bias"),
    ],
)
def test_what_no_kernel_computes_is_refused(changes: dict[str, Any], named: str) -> None:
    model = build("llama")
    attention.install(model)
    with pytest.raises(JobFailed, match=named):
        model(**in_one_row(), **changes, use_cache=False)


def test_two_rows_of_documents_are_refused() -> None:
    model = build("llama")
    attention.install(model)
    row = in_one_row()
    twice = {name: row[name].repeat(2, 1) for name in ("input_ids", "position_ids")}
    with pytest.raises(JobFailed, match="2 rows"):
        model(**row | twice, use_cache=False)


def test_autocast_computes_in_its_own_number_format() -> None:
    model = build("mistral")
    attention.install(model)
    exact = model(**in_one_row(), use_cache=False).logits
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = model(**in_one_row(), use_cache=False).logits
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, rtol=0.1, atol=0.1)
