"""What does the trainer of preference pairs do otherwise than TRL 1.16's?

One row without padding, passes that count by what they hold, a reference of our own, exact held-out
metrics. The loss is TRL's.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from datasets import Dataset, concatenate_datasets
from trl.trainer import dpo_trainer as trl_trainer
from trl.trainer.dpo_trainer import DPOTrainer

from zephyrctl.config.schema.training import Dpo
from zephyrctl.training import prefix_sharing, reference, shares
from zephyrctl.training.loading import Policy
from zephyrctl.training.pairs import Pairs, completion_sums, pair_metrics
from zephyrctl.training.trainer import HouseTrainer, Recorder, seen_by_all

ROW_TOLERANCE = 1e-3
ROW_TOLERANCE_BF16 = 0.5
"""Largest difference of one token's log-prob, in nats, between the joined row and padded rows. A
token that sees another document is off by more; bfloat16 alone moves unlikely tokens by tenths."""


class DpoTrainer(HouseTrainer, DPOTrainer):
    """DPOTrainer on token ids, with a reference of our own, passes of unequal size and exact
    held-out metrics.

    TRL is told that the reference's log-probs are in the rows, whatever the kind: it would load a
    model for them, and of the adapters it knows only those of a PeftModel.
    """

    rows_per_example = 2

    def __init__(
        self, *, settings: Dpo, policy: Policy, kind: reference.Kind, **kwargs: Any
    ) -> None:
        self.settings = settings
        self.policy = policy
        self.reference_kind: reference.Kind = kind
        with _no_digest_of_weights():
            super().__init__(**kwargs)

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        """TRL 1.16 goes through the rows unsorted and keeps its cache in a folder that other ranks
        may not have; see `add_reference`."""
        del name, batch_size
        return dataset

    def add_reference(self, source: reference.Source) -> None:
        """Put the reference's log-probs into the rows of both splits, before the first step."""
        self.model.to(self.args.device)
        self.model.eval()
        for attribute, split in (("train_dataset", "train"), ("eval_dataset", "test")):
            rows: Any = getattr(self, attribute)
            if rows is not None:
                columns = source.log_probs(rows, split=split, score=self._score_reference)
                known = Dataset.from_dict(columns)
                setattr(self, attribute, concatenate_datasets([rows, known], axis=1))

    def _score_reference(self, pairs: list[dict[str, Any]]) -> list[reference.LogProbs]:
        inputs = self._prepare_inputs(self.data_collator(pairs))
        chosen, rejected = self.compute_ref_log_probs(self.model, inputs)
        return list(zip(chosen.tolist(), rejected.tolist(), strict=True))

    def compute_ref_log_probs(self, model: Any, inputs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Summed log-probs of chosen and rejected, each `(B,)`, from the copy, or from the model
        without its trained adapter."""
        if self.ref_model is not None:
            return super().compute_ref_log_probs(self.ref_model, inputs)
        with self.policy.as_reference():
            return super().compute_ref_log_probs(model, inputs)

    def _compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False) -> Any:
        """Never asked for outputs: `prediction_step` is ours too."""
        del return_outputs
        return self._score(model, inputs)[0]

    def _score(self, model: Any, inputs: Any) -> tuple[torch.Tensor, Any, Pairs]:
        """Mean loss of a batch, the model's outputs, and what is known of its pairs."""
        inputs = dict(inputs)
        if reference.CHOSEN not in inputs:
            inputs |= zip(reference.COLUMNS, self._ask_reference(inputs), strict=True)
        recording = Recorder(model)
        loss = super()._compute_loss(recording, inputs, False)
        outputs = recording.outputs[0]
        mask = inputs["completion_mask"]  # (2B, S): all chosen, then all rejected
        log_probs = outputs.log_probs[:, 1 - mask.size(1) :].double()
        sums = completion_sums(log_probs, mask[:, 1:], ld_alpha=self.ld_alpha).chunk(2)
        known = [inputs[name].double() for name in reference.COLUMNS]
        return loss, outputs, Pairs(*sums, *known, *mask.sum(dim=1).chunk(2))

    def _ask_reference(self, inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        if self.reference_kind == "none":
            zeros = torch.zeros(len(inputs["input_ids"]) // 2, device=self.args.device)
            return zeros, zeros
        return self.compute_ref_log_probs(self.model, inputs)

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """TRL 1.16 tokenizes whatever it is given, also rows that hold `prompt_ids`; it must not:
        the ids of data preparation are the ids that are trained."""
        del args, kwargs
        return dataset

    def join_rows(self, *, share: bool) -> None:
        """Compute a batch as one row without padding; with `share`, each prompt once."""
        padded: Any = self.data_collator
        self.data_collator = prefix_sharing.PairCollator(
            pad_token_id=padded.pad_token_id,
            max_length=padded.max_length,
            pad_to_multiple_of=padded.pad_to_multiple_of,
            share=share,
            balances_experts=self.aux_loss_enabled,
        )
        for model in (self.model, self.ref_model):
            if model is not None:
                prefix_sharing.install(model)

    def check_rows(self, pairs: list[int], *, bf16: bool) -> None:
        """JobFailed where the joined row gives other log-probs than padded rows."""
        rows = [self.train_dataset[i] for i in pairs]
        self.model.to(self.args.device)
        batch = self._prepare_inputs(self.data_collator(rows))
        with self.compute_loss_context_manager():
            prefix_sharing.check(
                self.model, batch, tolerance=ROW_TOLERANCE_BF16 if bf16 else ROW_TOLERANCE
            )

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> Any:
        """Also learn what each pass of the step counts."""
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._shares = iter(shares.of_step(batches, device=device))
        return batches, items

    def _pass_begins(self, rows: list[Any]) -> None:
        """A pass of its own counts as the whole."""
        self._shares = iter([shares.WHOLE])

    def compute_loss(
        self,
        model: Any,
        inputs: Any,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """TRL's loss of the pass, times what the pass counts in its step. TRL's loss `sft` is a
        mean over tokens, every other one a mean over pairs."""
        del return_outputs, num_items_in_batch
        loss, outputs, _ = self._score(model, inputs)
        if not self.model.training:
            return loss
        share = next(self._shares)
        for name, values in self._metrics["train"].items():
            if name != "num_tokens":
                values[-1] *= share.of_metric(name)
        weights = dict(zip(self.loss_types, self.loss_weights, strict=True))
        if "sft" not in weights:
            return seen_by_all(loss * share.pairs)
        mask = inputs["completion_mask"][:, 1:].chunk(2)[0].bool()
        log_probs = outputs.log_probs.chunk(2)[0]  # (B, S-1)
        by_tokens = -weights["sft"] * log_probs[mask].mean()
        return seen_by_all(loss * share.pairs + by_tokens * (share.own_chosen_tokens - share.pairs))

    def prediction_step(
        self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[Any, Any, Any]:
        """Also return what is known of each pair and the loss of its batch, `(B, 7)`. TRL 1.16
        averages its metrics over batches of unequal size."""
        del prediction_loss_only, ignore_keys
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            loss, outputs, pairs = self._score(model, inputs)
            if self.aux_loss_enabled:  # how experts share the load says nothing of preferences
                loss = loss - self.router_aux_loss_coef * outputs.aux_loss
        table = pairs.table()
        table = torch.cat((table, loss.double().expand(len(table), 1)), dim=1)
        return loss.detach(), table, table.new_zeros(len(table))

    def exact_metrics(self, prediction: Any) -> dict[str, float]:
        """Means over all held-out pairs, by TRL's names."""
        self.held_out = np.asarray(prediction.predictions, dtype=np.float64)
        loss = float(self.held_out[:, -1].mean())
        return {"exact_loss": loss, **self.metrics_of(Pairs.of_table(self.held_out))}

    def metrics_of(self, pairs: Pairs) -> dict[str, float]:
        """Rewards and log-probs of pairs, by TRL's names."""
        return pair_metrics(pairs, beta=self.beta)


@contextmanager
def _no_digest_of_weights() -> Iterator[None]:
    """TRL 1.16 digests all weights when a trainer is made, to name a cache that is not used here:
    half a minute for 7 billion weights in float32."""
    trl: Any = trl_trainer
    before = trl.hash_module
    trl.hash_module = lambda module: ""
    try:
        yield
    finally:
        trl.hash_module = before
