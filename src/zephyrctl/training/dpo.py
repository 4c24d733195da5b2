"""How is a policy trained on preference pairs? (TRL 1.16's DPOTrainer, fed with token ids)"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from datasets import Dataset, concatenate_datasets
from torch.nn.functional import logsigmoid
from trl.trainer import dpo_trainer as trl_trainer
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from zephyrctl.config.schema import Recipe
from zephyrctl.config.schema.training import Dpo
from zephyrctl.data.load import load_split
from zephyrctl.errors import ConfigError
from zephyrctl.runs.manifest import Result
from zephyrctl.runs.store import Run
from zephyrctl.training import health, prefix_sharing, reference, session, shares
from zephyrctl.training.layout import Layout
from zephyrctl.training.loading import Policy
from zephyrctl.training.pairs import (
    START_TOLERANCE,
    START_TOLERANCE_BF16,
    Pairs,
    check_start,
    completion_sums,
    loss_at_start,
    pair_metrics,
)
from zephyrctl.training.reference import pair_lengths, pair_sizes
from zephyrctl.training.rows import longest_first
from zephyrctl.training.scoring import score_pairs
from zephyrctl.training.session import Losses, Plan, Splits
from zephyrctl.training.trainer import HouseTrainer, Recorder
from zephyrctl.training.trl_arguments import dpo_arguments

COLUMNS = ["prompt_ids", "chosen_ids", "rejected_ids"]
_FORWARD_ONLY = 4
"""Without a backward pass nothing is kept of a layer, so a pass may have so many times the tokens.
"""


CHECKED_PAIRS = 4
ROW_TOLERANCE = 1e-3
ROW_TOLERANCE_BF16 = 0.5
"""Largest difference of one token's log-prob, in nats, between the joined row and padded rows. A
token that sees another document is off by more; bfloat16 alone moves unlikely tokens by tenths."""


def train(recipe: Recipe, run: Run) -> Result:
    """Train on this run's preference pairs and publish the model."""
    return session.train(recipe, run, method=Method(recipe))


class DpoTrainer(HouseTrainer, DPOTrainer):
    """DPOTrainer on token ids, with a reference of our own, passes of unequal size and exact
    held-out metrics.

    TRL is told that the reference's log-probs are in the rows, whatever the kind: it would load a
    model for them, and of the adapters it knows only those of a PeftModel.
    """

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
            return loss * share.pairs
        mask = inputs["completion_mask"][:, 1:].chunk(2)[0].bool()
        log_probs = outputs.log_probs.chunk(2)[0]  # (B, S-1)
        by_tokens = -weights["sft"] * log_probs[mask].mean()
        return loss * share.pairs + by_tokens * (share.own_chosen_tokens - share.pairs)

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


class Method:
    """What is particular to DPO; see `session.Method`."""

    stage: Literal["dpo"] = "dpo"
    metric_names = (
        "train_loss", "eval_loss", "eval_loss_start", "reward_accuracy", "reward_margin",
        "chosen_rewards", "rejected_rewards", "chosen_logps", "rejected_logps",
        "chosen_logps_start", "rejected_logps_start", "chosen_drift", "rejected_drift",
    )  # fmt: skip
    trainer_class: type[DpoTrainer] = DpoTrainer

    def __init__(self, recipe: Recipe) -> None:
        self.training = recipe.dpo
        self.recipe = recipe

    def load(self, run: Run) -> Splits:
        """Both splits as rows of `prompt_ids`, `chosen_ids`, `rejected_ids`."""
        train = load_split(run, "dpo", "train").select_columns(COLUMNS)
        test = load_split(run, "dpo", "test").select_columns(COLUMNS)
        return Splits(train, *longest_first(test, pair_lengths(test)), pair_lengths(train))

    def costs(self, splits: Splits, layout: Layout) -> tuple[list[int], list[int]]:
        """Tokens of both completions, with the prompt once or twice."""
        if not layout.padding_free:
            padded = (splits.lengths, splits.test_lengths)
            return [2 * n for n in padded[0]], [2 * n for n in padded[1]]
        train, test = (
            [prefix_sharing.tokens(*sizes, share=layout.shared) for sizes in pair_sizes(rows)]
            for rows in (splits.train, splits.test)
        )
        return train, test

    def trainer(self, plan: Plan) -> Any:
        """The trainer over the prepared splits, with its reference."""
        kind = reference.kind(self.training)
        arguments = dpo_arguments(self.recipe, plan.job, precompute=True)
        if self._start_is_known():
            arguments["eval_on_start"] = False
        trainer = self._build(
            self.trainer_class,
            plan,
            arguments,
            settings=self.training,
            policy=plan.policy,
            kind=kind,
            ref_model=reference.frozen_copy(plan.policy.model) if kind == "copy" else None,
        )
        if kind == "precompute":
            trainer.add_reference(self._source(plan, arguments))
        return trainer

    def _build(
        self, trainer_of: Callable[..., Any], plan: Plan, arguments: dict[str, Any], **own: Any
    ) -> Any:
        try:
            trainer = trainer_of(
                model=plan.policy.model,
                args=DPOConfig(**arguments),
                train_dataset=plan.splits.train,
                eval_dataset=plan.splits.test if plan.job.has_test else None,
                processing_class=plan.tokenizer,
                callbacks=[plan.watch],
                **own,
            )
        except (ValueError, NotImplementedError) as error:
            if not self.training.trainer_args:
                raise
            reason = str(error).strip().splitlines()[0]
            raise ConfigError(f"TRL refuses: {reason}", where="dpo.trainer_args") from error
        trainer.compute_metrics = trainer.exact_metrics
        if plan.layout.padding_free:
            trainer.join_rows(share=plan.layout.shared)
            shortest = sorted(range(len(plan.splits.lengths)), key=plan.splits.lengths.__getitem__)
            trainer.check_rows(shortest[:CHECKED_PAIRS], bf16=computes_in_bf16(plan))
        if plan.job.passes.per_step > 1 and {"aot", "aot_unpaired"} & set(trainer.loss_types):
            plan.reporter.notice(
                "aot compares the pairs of one forward pass with each other, and a step has "
                f"{plan.job.passes.per_step} of them: its loss depends on micro_batch_tokens",
                level="warning",
            )
        return trainer

    def before(self, trainer: Any, plan: Plan) -> None:
        """Policy and reference must agree before the first step; anything else means that the
        wrong weights are one of them."""
        if plan.job.resumes or not self.training.has_reference:
            return
        trainer.model.to(trainer.args.device)
        trainer.model.eval()
        rows = [trainer.train_dataset[i] for i in sorted(set(plan.job.passes.batches[0]))]
        batch = trainer.data_collator(rows)
        loss, table, _ = trainer.prediction_step(trainer.model, batch, True)
        trainer._metrics["eval"].clear()
        metrics = trainer.metrics_of(Pairs.of_table(table.cpu()))
        check_start(
            self._loss_at_start(),
            loss=float(loss),
            margin=metrics["rewards/margins"],
            tolerance=START_TOLERANCE_BF16 if computes_in_bf16(plan) else START_TOLERANCE,
        )
        begun = health.preferences_begin(float(loss), expected=self._loss_at_start())
        plan.watch.canaries.note([begun], step=0)
        if plan.job.has_test and self._start_is_known():
            known = np.array([trainer.eval_dataset[name] for name in reference.COLUMNS]).T
            tokens = np.array([sizes[1:] for sizes in pair_sizes(trainer.eval_dataset)])
            values = trainer.metrics_of(Pairs.of_table(np.hstack((known, known, tokens))))
            plan.watch.report_evaluation(
                {"loss": float(loss), **values}, step=0, total=plan.job.steps
            )

    def result(self, plan: Plan) -> dict[str, float]:
        """Held-out metrics for the manifest."""
        first, last = plan.watch.progress.first_evaluation, plan.watch.progress.last_evaluation
        if not last:
            return {}
        return {
            "eval_loss": last["loss"],
            "eval_loss_start": first["loss"],
            "reward_accuracy": last["rewards/accuracies"],
            "reward_margin": last["rewards/margins"],
            "chosen_rewards": last["rewards/chosen"],
            "rejected_rewards": last["rewards/rejected"],
            "chosen_logps": last["logps/chosen"],
            "rejected_logps": last["logps/rejected"],
            "chosen_logps_start": first["logps/chosen"],
            "rejected_logps_start": first["logps/rejected"],
            "chosen_drift": last["logps/chosen"] - first["logps/chosen"],
            "rejected_drift": last["logps/rejected"] - first["logps/rejected"],
        }

    def losses_in_memory(self, held_out: Any, splits: Splits, rows: list[int]) -> Losses:
        """The loss (DPO's own for every loss of TRL) and losses per token of held-out pairs."""
        del splits
        return self._losses(Pairs.of_table(held_out[rows]))

    def losses_of(self, model: Any, held_out: Any, splits: Splits, rows: list[int]) -> Losses:
        """The same of another model, against the same reference."""
        scored = score_pairs(
            model,
            splits.test.select(rows).to_list(),
            ld_alpha=self.training.trainer_args.get("ld_alpha"),
        )
        return self._losses(Pairs.of_table(np.hstack((scored, held_out[rows][:, 2:]))))

    def _losses(self, pairs: Pairs) -> Losses:
        margins = self.training.beta * (
            (pairs.chosen - pairs.ref_chosen) - (pairs.rejected - pairs.ref_rejected)
        )
        return {"DPO loss": float(-logsigmoid(margins).mean()), **losses_per_token(pairs)}

    def _loss_at_start(self) -> float | None:
        return loss_at_start(self.training)

    def _start_is_known(self) -> bool:
        """Whether held-out metrics before training follow from the reference's log-probs."""
        return reference.kind(self.training) == "precompute" and self._loss_at_start() is not None

    def _source(self, plan: Plan, arguments: dict[str, Any]) -> reference.Source:
        lengths = [*plan.splits.lengths, *plan.splits.test_lengths]
        tokens = plan.job.passes.most_tokens
        return reference.Source(
            key=reference.key(self.recipe, plan.policy, plan.job.world, longest=max(lengths)),
            tokens=tokens * (_FORWARD_ONLY if plan.job.world.device == "cuda" else 1),
            world=plan.job.world,
            reporter=plan.reporter,
            batch_size=arguments.get("precompute_ref_batch_size"),
        )


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


def computes_in_bf16(plan: Plan) -> bool:
    """Whether the matrix products are bfloat16, by autocast or by the weights themselves."""
    return plan.job.world.bf16 or plan.policy.model.dtype == torch.bfloat16


def losses_per_token(pairs: Pairs) -> Losses:
    """Negative log-probs of a token of the chosen and of the rejected completions."""
    return {
        "chosen loss per token": float(-pairs.chosen.sum() / pairs.chosen_tokens.sum()),
        "rejected loss per token": float(-pairs.rejected.sum() / pairs.rejected_tokens.sum()),
    }
