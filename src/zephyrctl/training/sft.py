"""How is a policy fine-tuned on dialogues? (TRL 1.16's SFTTrainer, fed with token ids)

The trainer gets `input_ids` and `labels` (−100 where nothing is trained), so that the trained
tokens are exactly those of data preparation; its own preparation is switched off.
"""

from typing import Any, Literal

import numpy as np
import torch
from datasets import Dataset
from trl.data_utils import pack_dataset
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from zephyrctl.config.schema import Recipe
from zephyrctl.config.schema.training import Sft
from zephyrctl.data.load import load_split
from zephyrctl.runs.manifest import Result
from zephyrctl.runs.store import Run
from zephyrctl.training import session
from zephyrctl.training.rows import lengths_of, longest_first, with_labels
from zephyrctl.training.scoring import Documents, token_losses
from zephyrctl.training.session import Losses, Plan, Splits
from zephyrctl.training.trainer import HouseTrainer, Recorder
from zephyrctl.training.trl_arguments import sft_arguments


def train(recipe: Recipe, run: Run) -> Result:
    """Fine-tune on this run's dialogues and publish the model."""
    return session.train(recipe, run, method=Method(recipe))


class SftTrainer(HouseTrainer, SFTTrainer):
    """SFTTrainer with exact held-out loss."""

    def prediction_step(
        self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[Any, Any, Any]:
        """Also return each row's summed loss and trained tokens. TRL 1.16 averages means of
        batches, which weighs the tokens of short batches more."""
        del prediction_loss_only, ignore_keys
        inputs = self._prepare_inputs(inputs)
        recording: Any = Recorder(model)

        with torch.no_grad(), self.compute_loss_context_manager():
            loss = self.compute_loss(recording, inputs)
        sums = -recording.outputs[0].log_probs.double().sum(dim=1)  # (B,)
        tokens = recording.outputs[0].label_mask.double().sum(dim=1)
        return loss.detach(), torch.stack((sums, tokens), dim=1), torch.zeros_like(tokens)

    def exact_metrics(self, prediction: Any) -> dict[str, float]:
        """Mean loss per trained token over the whole split."""
        self.held_out = np.asarray(prediction.predictions, dtype=np.float64)
        sums = self.held_out.sum(axis=0)
        return {"exact_loss": float(sums[0] / sums[1])}


class Method:
    """What is particular to supervised fine-tuning; see `session.Method`."""

    stage: Literal["sft"] = "sft"
    metric_names = ("train_loss", "eval_loss", "eval_loss_start", "eval_token_accuracy")

    def __init__(self, recipe: Recipe) -> None:
        self.training = recipe.sft
        self.recipe = recipe

    def load(self, run: Run) -> Splits:
        """Both splits as rows of `input_ids` and `labels`, packed where that is asked for."""
        train, test = (
            as_rows(load_split(run, "sft", split), self.training, seed=self.recipe.seed)
            for split in ("train", "test")
        )
        held_out = longest_first(test, lengths_of(test, "input_ids"))
        return Splits(train, *held_out, lengths_of(train, "input_ids"))

    def trainer(self, plan: Plan) -> SftTrainer:
        """The trainer over the prepared splits."""
        trainer = SftTrainer(
            model=plan.policy.model,
            args=SFTConfig(**sft_arguments(self.recipe, plan.job)),
            train_dataset=plan.splits.train,
            eval_dataset=plan.splits.test if plan.job.has_test else None,
            processing_class=plan.tokenizer,
            callbacks=[plan.watch],
        )
        trainer.compute_metrics = trainer.exact_metrics
        return trainer

    def before(self, trainer: Any, plan: Plan) -> None:
        """Nothing has to hold before the first step."""

    def result(self, plan: Plan) -> dict[str, float]:
        """Held-out metrics for the manifest."""
        first, last = plan.watch.progress.first_evaluation, plan.watch.progress.last_evaluation
        if not last:
            return {}
        return {
            "eval_loss": last["loss"],
            "eval_loss_start": first["loss"],
            "eval_token_accuracy": last["mean_token_accuracy"],
        }

    def losses_in_memory(self, held_out: Any, splits: Splits, rows: list[int]) -> Losses:
        """Mean loss per trained token of some held-out rows."""
        sums = held_out[rows].sum(axis=0)
        return {"loss": float(sums[0] / sums[1])}

    def losses_of(self, model: Any, held_out: Any, splits: Splits, rows: list[int]) -> Losses:
        """The same of another model."""
        documents = [doc for row in splits.test.select(rows).to_list() for doc in unpacked(row)]
        sums, tokens = token_losses(model, documents)
        return {"loss": sum(sums) / sum(tokens)}


def as_rows(data: Dataset, sft: Sft, *, seed: int) -> Dataset:
    """Rows with `labels` from the assistant mask, or from every token; then packed.

    Packed documents are shuffled first, so that neighbours in a row are no neighbours in a file.
    """

    rows = with_labels(data, mask="assistant_mask" if sft.loss_on == "assistant" else None)
    if sft.packing == "none":
        return rows
    shuffled = rows.shuffle(seed=seed, keep_in_memory=True)
    packed = pack_dataset(shuffled, sft.max_length, sft.packing, {"keep_in_memory": True})
    assert isinstance(packed, Dataset)
    return packed


def unpacked(row: dict[str, Any]) -> Documents:
    """The documents of a row as (ids, labels); a row without `seq_lengths` is one document."""
    ids, labels = row["input_ids"], row["labels"]
    documents: Documents = []
    start = 0
    for length in row.get("seq_lengths") or [len(ids)]:
        documents.append((ids[start : start + length], labels[start : start + length]))
        start += length
    return documents
