"""How is a policy trained on preference pairs? (TRL 1.16's DPOTrainer, fed with token ids)"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch.nn.functional import logsigmoid
from trl.trainer.dpo_config import DPOConfig

from zephyrctl.config.schema import Recipe
from zephyrctl.data.load import load_split
from zephyrctl.errors import ConfigError
from zephyrctl.runs.manifest import Result
from zephyrctl.runs.store import Run
from zephyrctl.training import health, prefix_sharing, reference, session
from zephyrctl.training.dpo_trainer import DpoTrainer
from zephyrctl.training.layout import Layout
from zephyrctl.training.method import Losses, Plan, Splits
from zephyrctl.training.pairs import (
    START_TOLERANCE,
    START_TOLERANCE_BF16,
    Pairs,
    check_start,
    loss_at_start,
)
from zephyrctl.training.reference import pair_lengths, pair_sizes
from zephyrctl.training.rows import longest_first
from zephyrctl.training.scoring import score_pairs
from zephyrctl.training.trl_arguments import dpo_arguments

COLUMNS = ["prompt_ids", "chosen_ids", "rejected_ids"]
CHECKED_PAIRS = 4
"""Pairs on which the joined row is compared with padded rows: the shortest."""
_FORWARD_ONLY = 4
"""Without a backward pass nothing is kept of a layer, so a pass may have so many times the tokens.
"""


def train(recipe: Recipe, run: Run) -> Result:
    """Train on this run's preference pairs and publish the model."""
    return session.train(recipe, run, stage="dpo", make=Method)


class Method:
    """What is particular to DPO; see `method.Method`."""

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
        if self._start_is_known() and not plan.job.owes_evaluation:
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
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
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
            in_step=plan.strategy.shards,
        )


def computes_in_bf16(plan: Plan) -> bool:
    """Whether the matrix products are bfloat16, by autocast or by the weights themselves."""
    return plan.job.world.bf16 or plan.policy.model.dtype == torch.bfloat16


def losses_per_token(pairs: Pairs) -> Losses:
    """Negative log-probs of a token of the chosen and of the rejected completions."""
    return {
        "chosen loss per token": float(-pairs.chosen.sum() / pairs.chosen_tokens.sum()),
        "rejected loss per token": float(-pairs.rejected.sum() / pairs.rejected_tokens.sum()),
    }
