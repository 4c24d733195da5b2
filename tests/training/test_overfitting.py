"""What a model learns from 32 pairs: all of them, and the opposite where they are swapped."""

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM

from zephyrctl.training.scoring import score_pairs

pytestmark = pytest.mark.train

SETTINGS: dict[str, Any] = {
    "init_from": "base", "global_batch_size": 16, "epochs": 8, "learning_rate": 8e-3, "beta": 0.5,
}  # fmt: skip


def random_pairs(rows: int = 32) -> list[dict[str, Any]]:
    """Pairs between which nothing but their own tokens decides."""
    rng = torch.Generator().manual_seed(0)
    lengths = torch.randint(3, 10, (rows, 3), generator=rng).tolist()
    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    return [
        {
            name: torch.randint(10, 300, (length,), generator=rng).tolist()
            for name, length in zip(names, sizes, strict=True)
        }
        for sizes in lengths
    ]


def swapped(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        row | {"chosen_ids": row["rejected_ids"], "rejected_ids": row["chosen_ids"]} for row in rows
    ]


def margins_of(model: Path | str, rows: list[dict[str, Any]]) -> Any:
    """Log-prob of chosen over rejected, `(N,)`."""
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    return score_pairs(loaded, rows, ld_alpha=None) @ [1.0, -1.0]


def test_32_pairs_are_learned_by_heart_and_swapped_ones_the_other_way(
    make_run: Any, train_dpo: Any
) -> None:
    rows = random_pairs()
    learned = {}
    for name, table in (("right", rows), ("swapped", swapped(rows))):
        recipe, run = make_run(name, dpo=SETTINGS)
        for split in ("train", "test"):
            Dataset.from_list(table).to_parquet(run.stage("data").path / "dpo" / f"{split}.parquet")
        metrics = train_dpo(recipe, run).metrics
        assert metrics["eval_loss"] < 0.01
        assert metrics["reward_accuracy"] == 1.0
        before, after = (
            margins_of(model, rows) for model in (recipe.model.base, run.stage("dpo").model)
        )
        learned[name] = after - before
    assert (learned["right"] > 5).all()
    assert (learned["swapped"] < -5).all()
