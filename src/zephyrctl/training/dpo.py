"""How is a policy trained on preference pairs? (TRL 1.16's DPOTrainer, fed with token ids)"""

import math
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import torch
from datasets import Dataset, concatenate_datasets
from torch.utils.data import DataLoader
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from zephyrctl.config.schema import Recipe
from zephyrctl.data.load import load_split
from zephyrctl.errors import JobFailed
from zephyrctl.runs.digests import digest_json
from zephyrctl.runs.manifest import Result
from zephyrctl.runs.store import Run
from zephyrctl.training import reference, session
from zephyrctl.training.reference import pair_lengths
from zephyrctl.training.rows import IGNORED, digest_of, longest_first
from zephyrctl.training.scoring import Documents, token_losses
from zephyrctl.training.session import Losses, Plan, Splits
from zephyrctl.training.trainer import HouseTrainer, Recorder
from zephyrctl.training.trl_arguments import dpo_arguments

COLUMNS = ["prompt_ids", "chosen_ids", "rejected_ids"]
START_TOLERANCE = 1e-4
START_TOLERANCE_BF16 = 2e-2
"""bfloat16 sums of log-probs depend on how a batch is padded; that of the reference was another."""
LOSS_AT_ZERO = {
    "sigmoid": math.log(2), "sigmoid_norm": math.log(2), "robust": math.log(2),
    "aot": math.log(2), "aot_unpaired": math.log(2), "hinge": 1.0,
    "nca_pair": 2 * math.log(2), "bco_pair": 2 * math.log(2), "apo_zero": 1.0, "apo_down": 1.0,
}  # fmt: skip
"""Losses of TRL 1.16 where policy and reference agree; the others depend on more than that."""


def train(recipe: Recipe, run: Run) -> Result:
    """Train on this run's preference pairs and publish the model."""
    return session.train(recipe, run, method=Method(recipe))


class PairTrainer(HouseTrainer, DPOTrainer):
    """DPOTrainer on token ids."""

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """TRL 1.16 tokenizes whatever it is given, also rows that hold `prompt_ids`; it must not:
        the ids of data preparation are the ids that are trained."""
        del args, kwargs
        return dataset


class DpoTrainer(PairTrainer):
    """DPOTrainer with reference log-probs of our own and exact held-out metrics."""

    def __init__(self, *, source: reference.Source, **kwargs: Any) -> None:
        self.source = source
        super().__init__(**kwargs)

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        """TRL 1.16 goes through the rows unsorted, keeps its cache in a folder that other ranks may
        not have, and knows no frozen adapter below the trained one."""
        split = "train" if name == "train" else "test"

        def score(rows: Dataset) -> Iterator[tuple[float, float]]:
            loader = DataLoader(
                rows.select_columns(COLUMNS),  # type: ignore[arg-type]
                batch_size=batch_size,
                collate_fn=self.data_collator,
            )
            self.model.to(self.args.device)
            self.model.eval()
            with self.source.policy.as_reference():
                for batch in loader:
                    inputs = self._prepare_inputs(batch)
                    chosen, rejected = self.compute_ref_log_probs(self.model, inputs)
                    yield from zip(chosen.tolist(), rejected.tolist(), strict=True)

        columns = self.source.log_probs(dataset, split=split, score=score)
        return concatenate_datasets([dataset, Dataset.from_dict(columns)], axis=1)

    def prediction_step(
        self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[Any, Any, Any]:
        """Also return the four log-probs of each pair: policy chosen and rejected, reference chosen
        and rejected. TRL 1.16 averages its metrics over batches of unequal size."""
        del prediction_loss_only, ignore_keys
        inputs = dict(self._prepare_inputs(inputs))
        recording = Recorder(model)
        live = not self.precompute_ref_logps
        with torch.no_grad(), self.compute_loss_context_manager():
            if live:
                chosen, rejected = self.compute_ref_log_probs(self.ref_model, inputs)
                inputs |= {"ref_chosen_logps": chosen, "ref_rejected_logps": rejected}
            self.precompute_ref_logps = True
            try:
                loss = self._compute_loss(recording, inputs, False)
            finally:
                self.precompute_ref_logps = not live
            if self.aux_loss_enabled:  # how experts share the load says nothing of preferences
                loss = loss - self.router_aux_loss_coef * recording.outputs[0].aux_loss
        chosen, rejected = recording.outputs[0].log_probs.double().sum(dim=1).chunk(2)
        known = (inputs["ref_chosen_logps"].double(), inputs["ref_rejected_logps"].double())
        return (
            loss.detach(),
            torch.stack((chosen, rejected, *known), dim=1),
            chosen.new_zeros(len(chosen)),
        )

    def exact_metrics(self, prediction: Any) -> dict[str, float]:
        """Means over all held-out pairs, by TRL's names."""
        self.held_out = np.asarray(prediction.predictions, dtype=np.float64)
        return pair_metrics(self.held_out, beta=self.beta)


class Method:
    """What is particular to DPO; see `session.Method`."""

    stage: Literal["dpo"] = "dpo"
    metric_names = (
        "train_loss", "eval_loss", "eval_loss_start", "reward_accuracy", "reward_margin",
        "chosen_rewards", "rejected_rewards", "chosen_logps", "rejected_logps",
        "chosen_logps_start", "rejected_logps_start",
    )  # fmt: skip

    def __init__(self, recipe: Recipe) -> None:
        self.training = recipe.dpo
        self.recipe = recipe

    def load(self, run: Run) -> Splits:
        """Both splits as rows of `prompt_ids`, `chosen_ids`, `rejected_ids`."""
        train = load_split(run, "dpo", "train").select_columns(COLUMNS)
        test = load_split(run, "dpo", "test").select_columns(COLUMNS)
        return Splits(train, *longest_first(test, pair_lengths(test)), pair_lengths(train))

    def trainer(self, plan: Plan) -> Any:
        """The trainer over the prepared splits, with its reference."""
        arguments = dpo_arguments(self.recipe, plan.job, precompute=not self._copies(plan))
        if self._start_is_known(plan):
            arguments["eval_on_start"] = False
        twin = reference.frozen_copy(plan.policy.model) if self._copies(plan) else None
        source = self._source(plan)
        return self._build(DpoTrainer, plan, arguments, source=source, ref_model=twin)

    def _build(
        self, trainer_of: Callable[..., Any], plan: Plan, arguments: dict[str, Any], **own: Any
    ) -> Any:
        trainer = trainer_of(
            model=plan.policy.model,
            args=DPOConfig(**arguments),
            train_dataset=plan.splits.train,
            eval_dataset=plan.splits.test if plan.job.has_test else None,
            processing_class=plan.tokenizer,
            callbacks=[plan.watch],
            **own,
        )
        trainer.compute_metrics = trainer.exact_metrics
        return trainer

    def before(self, trainer: Any, plan: Plan) -> None:
        """Policy and reference must agree before the first step; anything else means that the
        wrong weights are one of them."""
        if plan.job.resumes:
            return
        size = plan.job.batches.micro_batch_size
        rows = [trainer.train_dataset[i] for i in sorted(set(trainer.order.indices[:size]))]
        trainer.model.to(trainer.args.device)
        trainer.model.eval()
        batch = trainer.data_collator(rows)
        loss, log_probs, _ = trainer.prediction_step(trainer.model, batch, True)
        trainer._metrics["eval"].clear()
        metrics = pair_metrics(log_probs.cpu().numpy(), beta=self.training.beta)
        check_start(
            self.training.loss,
            loss=float(loss),
            margin=metrics["rewards/margins"],
            tolerance=START_TOLERANCE_BF16 if computes_in_bf16(plan) else START_TOLERANCE,
        )
        if plan.job.has_test and self._start_is_known(plan):
            known = np.array([trainer.eval_dataset[name] for name in reference.COLUMNS]).T
            values = pair_metrics(np.concatenate((known, known), axis=1), beta=self.training.beta)
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
        }

    def losses_in_memory(self, held_out: Any, splits: Splits, rows: list[int]) -> Losses:
        """DPO loss (sigmoid) and chosen loss per token of some held-out pairs."""
        return self._losses(held_out[rows], splits, rows)

    def losses_of(self, model: Any, held_out: Any, splits: Splits, rows: list[int]) -> Losses:
        """The same of another model, against the same reference."""
        pairs = splits.test.select(rows)
        scored = [
            -sum_
            for sum_ in token_losses(
                model, [*_sequences(pairs, "chosen_ids"), *_sequences(pairs, "rejected_ids")]
            )[0]
        ]
        own = np.array([scored[: len(rows)], scored[len(rows) :]]).T
        return self._losses(np.concatenate((own, held_out[rows][:, 2:]), axis=1), splits, rows)

    def _losses(self, log_probs: Any, splits: Splits, rows: list[int]) -> Losses:
        chosen, rejected, ref_chosen, ref_rejected = np.asarray(log_probs).T
        margins = self.training.beta * ((chosen - ref_chosen) - (rejected - ref_rejected))
        tokens = sum(len(ids) for ids in splits.test.select(rows)["chosen_ids"])
        return {
            "DPO loss": float(np.logaddexp(0.0, -margins).mean()),
            "chosen loss per token": float(-chosen.sum() / tokens),
        }

    def _copies(self, plan: Plan) -> bool:
        """A second model in memory; an adapter's starting weights serve as they are."""
        return self.training.reference == "copy" and plan.policy.peft is None

    def _start_is_known(self, plan: Plan) -> bool:
        """Whether held-out metrics before training follow from the reference's log-probs."""
        return not self._copies(plan) and str(self.training.loss) in LOSS_AT_ZERO

    def _source(self, plan: Plan) -> reference.Source:
        return reference.Source(
            policy=plan.policy,
            folder=plan.folder.path / "reference",
            keys={
                "train": self._key(plan, plan.splits.train),
                "test": self._key(plan, plan.splits.test),
            },
            world=plan.job.world,
            reporter=plan.reporter,
        )

    def _key(self, plan: Plan, rows: Dataset) -> str:
        """What the reference's log-probs follow from."""
        return digest_json(
            {
                "weights": plan.policy.start.digest,
                "adapter": self.training.adapter.type if plan.policy.form == "merged" else "",
                "rows": digest_of(rows, COLUMNS),
                "dtype": str(plan.policy.model.dtype),
                "bf16": plan.job.world.bf16,
            }
        )


def computes_in_bf16(plan: Plan) -> bool:
    """Whether the matrix products are bfloat16, by autocast or by the weights themselves."""
    return plan.job.world.bf16 or plan.policy.model.dtype == torch.bfloat16


def pair_metrics(log_probs: Any, *, beta: float) -> dict[str, float]:
    """Metrics of N pairs from log-probs `(N, 4)`: policy chosen, rejected, reference chosen,
    rejected. A reward is beta times the log-ratio (Rafailov et al. 2023, §5)."""
    chosen, rejected, ref_chosen, ref_rejected = np.asarray(log_probs).T
    return reward_metrics(
        beta * (chosen - ref_chosen),
        beta * (rejected - ref_rejected),
        log_probs=(chosen, rejected),
    )


def reward_metrics(
    chosen_rewards: Any, rejected_rewards: Any, *, log_probs: tuple[Any, Any]
) -> dict[str, float]:
    """Means over N pairs by TRL's names, from the rewards and summed log-probs of chosen and
    rejected, each `(N,)`."""
    chosen, rejected = log_probs
    return {
        "rewards/chosen": float(chosen_rewards.mean()),
        "rewards/rejected": float(rejected_rewards.mean()),
        "rewards/accuracies": float((chosen_rewards > rejected_rewards).mean()),
        "rewards/margins": float((chosen_rewards - rejected_rewards).mean()),
        "logps/chosen": float(chosen.mean()),
        "logps/rejected": float(rejected.mean()),
        "pairs": float(len(chosen)),
    }


def check_start(loss_type: Any, *, loss: float, margin: float, tolerance: float) -> None:
    """JobFailed unless policy and reference agree: margin 0, and for sigmoid the loss ln 2."""
    expected = LOSS_AT_ZERO.get(loss_type) if isinstance(loss_type, str) else None
    off = abs(margin) > tolerance or (expected is not None and abs(loss - expected) > tolerance)
    if off:
        raise JobFailed(
            f"before the first step the loss is {loss:.6f} and the reward margin {margin:.6f}"
            f"{f' instead of {expected:.6f} and 0' if expected is not None else ' instead of 0'}: "
            "policy and reference are not the same model",
            where="dpo.init_from",
            hint="remove the stage's folder 'reference' and run it again",
        )


def _sequences(pairs: Dataset, completion: str) -> Documents:
    """Prompt and completion of each pair, with labels on the completion."""
    return [
        (row["prompt_ids"] + row[completion], [IGNORED] * len(row["prompt_ids"]) + row[completion])
        for row in pairs.to_list()
    ]
