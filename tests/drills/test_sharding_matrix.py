"""Every kind of training, shared out among two processes, against two that each hold the model."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.training.conftest import _no_cache_of_mine, drill, make_run
from tests.training.test_sharding import SHARED, assert_alike

__all__ = ["_no_cache_of_mine", "drill", "make_run"]

LORA = {"type": "lora", "r": 4, "dropout": 0.2}
STEPS: dict[str, Any] = {"epochs": 1, "micro_batch_size": 1, "sample_prompts": 0, "eval_every": 1}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "packed, recomputed, NEFTune": (
        "sft",
        {
            "packing": "bfd", "gradient_checkpointing": True, "neftune_alpha": 5,
            "global_batch_size": 2,
        },
    ),
    "padded, last layer": (
        "sft",
        {"padding_free": False, "trainable_layers": 1, "gradient_checkpointing": "selective"},
    ),
    "LoRA with dropout": ("sft", {"adapter": LORA}),
    "DoRA, recomputed": (
        "sft",
        {"adapter": LORA | {"type": "dora"}, "gradient_checkpointing": True},
    ),
    "rmsprop": ("sft", {"optimizer": "rmsprop"}),
    "reference copied": ("dpo", {"reference": "copy"}),
    "reference under the adapter": ("dpo", {"reference": "adapter", "adapter": LORA}),
    "SimPO, padded": ("dpo", {"loss": "simpo", "beta": 2.0, "padding_free": False}),
    "several losses": ("dpo", {"loss": ["sigmoid", "sft"], "gradient_checkpointing": True}),
}  # fmt: skip

IGNORED = """
import os, sys
import torch.distributed as dist
from datasets import Dataset
from tests.training.tiny_models import mistral
from transformers import Trainer, TrainingArguments
from zephyrctl.errors import EnvironmentProblem
from zephyrctl.training.strategies import Guard, Strategy

dist.init_process_group("gloo")
trainer = Trainer(
    model=mistral(),
    args=TrainingArguments(
        sys.argv[1], use_cpu=True, fsdp=True, max_steps=1, report_to="none", save_strategy="no"
    ),
    train_dataset=Dataset.from_list([{"input_ids": [1, 2, 3], "labels": [1, 2, 3]}] * 2),
)
trainer.add_callback(Guard(trainer, Strategy("fsdp2", 2)))
try:
    trainer.train()
except EnvironmentProblem as error:
    assert "fsdp2 is not active: the model is wrapped for ddp" in error.message, error.message
    os._exit(3)
"""


@pytest.mark.parametrize("kind", KINDS)
def test_sharing_out_changes_nothing(kind: str, make_run: Any, drill: Any) -> None:
    stage, more = KINDS[kind]
    base = {"init_from": "base"} if stage == "dpo" else {}
    settings = {stage: STEPS | base | more}
    _, whole = make_run("whole", **settings)
    _, shared = make_run("shared", **settings, **SHARED)

    assert drill(whole, stage, ranks=2) == [0, 0]
    assert drill(shared, stage, ranks=2) == [0, 0]

    assert_alike(shared.stage(stage), whole.stage(stage))


def test_the_fsdp_of_accelerate_that_does_nothing_is_noticed(tmp_path: Path) -> None:
    script = tmp_path / "ignored.py"
    script.write_text(IGNORED, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr",
         "127.0.0.1", "--nproc-per-node", "2", str(script), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert "exitcode  : 3" in done.stderr, done.stderr[-2000:]
