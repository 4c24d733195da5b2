"""Scoring only labelled positions on a CPU."""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM
from trl.trainer import utils

from zephyrctl.training.fused_head import labelled_positions_only


def test_labelled_positions_have_the_same_log_probs_and_gradients(tiny_base: Path) -> None:
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
        torch.testing.assert_close(every, labelled, rtol=1e-6, atol=1e-7)


def test_trl_is_left_as_it_was() -> None:
    before = utils._use_triton  # type: ignore[reportPrivateImportUsage]
    with labelled_positions_only("cpu"):
        assert utils._use_triton(torch.device("cpu"))  # type: ignore[reportPrivateImportUsage]
    assert utils._use_triton is before  # type: ignore[reportPrivateImportUsage]
