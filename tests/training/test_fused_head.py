"""Scoring only labelled positions on a CPU."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM
from trl.trainer import utils

from zephyrctl.training import fused_head
from zephyrctl.training.fused_head import kernel, labelled_positions_only


@pytest.mark.parametrize("tile", [(512, 1024), (2, 100)])
def test_labelled_positions_have_the_same_log_probs_and_gradients(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch, tile: tuple[int, int]
) -> None:
    monkeypatch.setattr(fused_head, "TILE_TOKENS", tile[0])
    monkeypatch.setattr(fused_head, "TILE_ENTRIES", tile[1])
    model = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float64)
    utils.add_fused_lm_head(model, outputs=("log_probs", "entropy", "is_top1"))
    ids = torch.tensor([[5, 6, 7, 8, 9], [5, 9, 8, 0, 0]])
    labels = torch.tensor([[-100, -100, 7, 8, 9], [-100, 9, 8, -100, -100]])
    found = []
    for device in ("cuda", "cpu"):  # "cuda": TRL decides, and on this CPU scores every position
        model.zero_grad()
        with labelled_positions_only(device):
            outputs = model(input_ids=ids, labels=labels, fused_lm_head=True)
            outputs.log_probs.sum().backward()
        assert not outputs.log_probs[labels[:, 1:] == -100].any()
        gradient = model.model.embed_tokens.weight.grad.clone()
        scored = labels[:, 1:] != -100
        found.append((outputs.log_probs[scored], outputs.entropy[scored], gradient))
    for every, labelled in zip(*found, strict=True):
        # TRL sums statistics and gradients over tiles in float32, whatever the model's format.
        torch.testing.assert_close(every, labelled, rtol=1e-5, atol=1e-5)


def test_trl_is_left_as_it_was() -> None:
    def settings() -> list[object]:
        names = ("_use_triton", "_CHUNKED_LOGPROB_CHUNK_SIZE")
        return [*(getattr(fused_head.utils, name) for name in names), kernel.TOKEN_CHUNK_SIZE]

    before = settings()
    with labelled_positions_only("cpu"):
        assert fused_head.utils._use_triton(torch.device("cpu"))
        assert settings()[1:] == [fused_head.TILE_ENTRIES, fused_head.TILE_TOKENS]
    assert settings() == before
