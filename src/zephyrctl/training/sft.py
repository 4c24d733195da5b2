"""How is a policy fine-tuned on dialogues? (TRL 1.16's SFTTrainer, fed with token ids)

The trainer gets `input_ids` and `labels` (−100 where nothing is trained), so that the trained
tokens are exactly those of data preparation; its own preparation is switched off.
"""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch
from datasets import Dataset
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling, SFTTrainer

from zephyrctl.config.schema import Recipe
from zephyrctl.data.load import load_split
from zephyrctl.runs.manifest import Result
from zephyrctl.runs.store import Run
from zephyrctl.training import packing, session, shares
from zephyrctl.training.documents import check_apart, sums_by_document
from zephyrctl.training.embedding_noise import EmbeddingNoise, lengths_by_token
from zephyrctl.training.layout import Layout
from zephyrctl.training.method import Losses, Plan, Splits
from zephyrctl.training.rows import lengths_of, longest_first, with_labels
from zephyrctl.training.scoring import token_losses
from zephyrctl.training.trainer import HouseTrainer, Recorder, seen_by_all
from zephyrctl.training.trl_arguments import sft_arguments


def train(recipe: Recipe, run: Run) -> Result:
    """Fine-tune on this run's dialogues and publish the model."""
    return session.train(recipe, run, stage="sft", make=Method)


class SftTrainer(HouseTrainer, SFTTrainer):
    """SFTTrainer with rows of several documents, exact held-out metrics and NEFTune by document."""

    _shares: Iterator[float] = iter(())
    """What each pass of the present step counts in the metrics that are means over tokens."""

    def __init__(self, *, joins_rows: bool = False, **kwargs: Any) -> None:
        """`joins_rows`: the rows of a forward pass become one row without padding."""
        super().__init__(**kwargs)
        if joins_rows:
            # Given to TRL 1.16 by its own argument, it would refuse unpacked rows and a max_length.
            padding: Any = self._tokenizer.pad_token_id
            self.data_collator = DataCollatorForLanguageModeling(
                pad_token_id=padding, padding_free=True
            )
            self.padding_free = True
        alpha, self.neftune_noise_alpha = self.neftune_noise_alpha, None
        self.noise = EmbeddingNoise(alpha) if alpha is not None else None

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Disturb the embeddings while training, in place of transformers' own hook."""
        if self.noise is None:
            return super().train(*args, **kwargs)
        with self.noise.on(self.model):
            return super().train(*args, **kwargs)

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> Any:
        """Also learn what each pass of the step counts."""
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._shares = iter(shares.of_labels(batches, device=device))
        return batches, items

    def _pass_begins(self, rows: list[Any]) -> None:
        """A pass of its own counts as the whole."""
        self._shares = iter([1.0])

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """TRL's loss, which is a mean over the tokens of the step. Its metrics are means over those
        of a pass, and count by them; the noise is told how long each example is."""
        if self.noise is not None:
            self.noise.lengths = lengths_by_token(inputs)
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        if self.model.training:
            share = next(self._shares, 1.0)
            for name in ("mean_token_accuracy", "entropy"):
                self._metrics["train"][name][-1] *= share
            loss = seen_by_all(loss)
        return loss

    def prediction_step(
        self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[Any, Any, Any]:
        """Also return each document's summed loss, trained tokens, tokens predicted right and
        entropy. TRL 1.16 averages means of batches, which weighs the tokens of short ones more."""
        del prediction_loss_only, ignore_keys
        inputs = self._prepare_inputs(inputs)
        recording: Any = Recorder(model)

        with torch.no_grad(), self.compute_loss_context_manager():
            loss = self.compute_loss(recording, inputs)
        found = recording.outputs[0]
        values = (-found.log_probs, found.label_mask, found.is_top1, found.entropy)
        boundaries = inputs.get("cu_seq_lens_q")
        sums = torch.stack([sums_by_document(v, boundaries) for v in values], dim=1)  # (N, 4)
        return loss.detach(), sums, sums.new_zeros(len(sums))

    def exact_metrics(self, prediction: Any) -> dict[str, float]:
        """Means over the trained tokens of the whole split, by TRL's names."""
        self.held_out = np.asarray(prediction.predictions, dtype=np.float64)
        loss, tokens, right, entropy = self.held_out.sum(axis=0)
        return {
            "exact_loss": float(loss / tokens),
            "mean_token_accuracy": float(right / tokens),
            "entropy": float(entropy / tokens),
        }


class Method:
    """What is particular to supervised fine-tuning; see `method.Method`."""

    stage: Literal["sft"] = "sft"
    metric_names = ("train_loss", "eval_loss", "eval_loss_start", "eval_token_accuracy")

    def __init__(self, recipe: Recipe) -> None:
        self.training = recipe.sft
        self.recipe = recipe
        self.packed: packing.Packed | None = None

    def load(self, run: Run) -> Splits:
        """Both splits as rows of `input_ids` and `labels`, packed where that is asked for.

        Held-out dialogues that `bfd` would keep apart anyway stay rows of their own.
        """
        train, test = (self._labelled(run, split) for split in ("train", "test"))
        strategy = self.training.packing
        if strategy != "none":
            self.packed = self._pack(train, strategy)
            train = self.packed.rows
        if strategy == "wrapped":
            test = self._pack(test, strategy).rows
        held_out = longest_first(test, lengths_of(test, "input_ids"))
        return Splits(train, *held_out, lengths_of(train, "input_ids"))

    def _labelled(self, run: Run, split: Literal["train", "test"]) -> Dataset:
        mask = "assistant_mask" if self.training.loss_on == "assistant" else None
        return with_labels(load_split(run, "sft", split), mask=mask)

    def _pack(self, rows: Dataset, strategy: Literal["bfd", "wrapped"]) -> packing.Packed:
        return packing.pack(
            rows, strategy=strategy, max_length=self.training.max_length, seed=self.recipe.seed
        )

    def costs(self, splits: Splits, layout: Layout) -> tuple[list[int], list[int]]:
        """Tokens of each row in either split."""
        del layout
        return splits.lengths, splits.test_lengths

    def trainer(self, plan: Plan) -> SftTrainer:
        """The trainer over the prepared splits."""
        trainer = SftTrainer(
            model=plan.policy.model,
            args=SFTConfig(**sft_arguments(self.recipe, plan.job)),
            train_dataset=plan.splits.train,
            eval_dataset=plan.splits.test if plan.job.has_test else None,
            processing_class=plan.tokenizer,
            callbacks=[plan.watch],
            joins_rows=plan.layout.padding_free,
        )
        trainer.compute_metrics = trainer.exact_metrics
        return trainer

    def before(self, trainer: Any, plan: Plan) -> None:
        """Say how full packed rows are; documents that share a row must not see each other."""
        if self.packed is not None:
            plan.reporter.notice(self.packed.describe())
        if self.training.packing == "bfd" and not plan.layout.padding_free:
            plan.reporter.notice(
                "packed dialogues are kept apart by a dense mask over the whole forward pass"
            )
        if trainer.padding_free:
            check_apart(trainer, plan.splits.train, plan.splits.lengths)

    def result(self, plan: Plan) -> dict[str, float]:
        """Held-out metrics for the manifest, and how full packed rows are."""
        first, last = plan.watch.progress.first_evaluation, plan.watch.progress.last_evaluation
        packed = {"packing_efficiency": self.packed.efficiency} if self.packed is not None else {}
        if not last:
            return packed
        return packed | {
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
        chosen = splits.test.select(rows).to_list()
        sums, tokens = token_losses(model, [(row["input_ids"], row["labels"]) for row in chosen])
        return {"loss": sum(sums) / sum(tokens)}
