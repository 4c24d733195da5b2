"""What do SFTConfig and DPOConfig get from a recipe?

The one mapping from our names to those of TRL 1.16. Every key emitted here is owned by a named
field or by the program itself; `trainer_args` may add any other field of the installed class.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from trl.trainer.dpo_config import DPOConfig
from trl.trainer.sft_config import SFTConfig

from zephyrctl import catalogue
from zephyrctl.config.schema import Recipe
from zephyrctl.config.schema.training import Training
from zephyrctl.errors import ConfigError, Problem
from zephyrctl.registry import did_you_mean
from zephyrctl.training import zero3
from zephyrctl.training.micro_batches import MicroBatches
from zephyrctl.training.processes import World

OPTIMIZERS = {
    "auto": "adamw_torch_fused",
    "adamw": "adamw_torch_fused",
    "adamw_8bit": "adamw_8bit",
    "paged_adamw_32bit": "paged_adamw_32bit",
    "rmsprop": "rmsprop",
    # transformers knows neither; `HouseTrainer.create_optimizer` builds them.
    "flash_adamw": "adamw_torch_fused",
    "adamw_bf16": "adamw_torch_fused",
}

OVERRIDABLE = frozenset({"lr_scheduler_kwargs", "dataloader_pin_memory"})
"""Emitted keys that are only a default, which `trainer_args` may replace."""


@dataclass(frozen=True)
class Job:
    """What the arguments need to know beside the recipe."""

    passes: MicroBatches
    eval_batch_size: int
    steps: int
    world: World
    folder: Path
    """Where checkpoints are written."""
    has_test: bool
    resumes: bool
    owes_evaluation: bool = False
    """The checkpoint is from a stop in the middle of an evaluation."""


def sft_arguments(recipe: Recipe, job: Job) -> dict[str, Any]:
    """Keyword arguments of SFTConfig."""
    sft = recipe.sft
    arguments = _common(recipe, sft, job) | {
        "packing": sft.packing != "none",
        "packing_strategy": "bfd" if sft.packing == "none" else sft.packing,
        "neftune_noise_alpha": sft.neftune_alpha,
        # The masks arrive as labels, and packing is done before the trainer counts its steps.
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "assistant_only_loss": False,
        "completion_only_loss": False,
    }
    return _merged(arguments, sft, SFTConfig, where="sft")


def dpo_arguments(recipe: Recipe, job: Job, *, precompute: bool) -> dict[str, Any]:
    """Keyword arguments of DPOConfig; `precompute`: the data carries the reference's log-probs."""
    dpo = recipe.dpo
    losses = dpo.losses
    own = [name for name in losses if name in catalogue.OWN_LOSSES]
    if own and len(losses) > 1:
        raise ConfigError(f"the loss {own[0]} cannot be summed with others", where="dpo.loss")
    if own:
        # TRL 1.16 lacks it: `own_loss.OwnLossTrainer` takes its forward pass and drops this loss.
        losses = ["sigmoid"]
    arguments = _common(recipe, dpo, job) | {
        "beta": dpo.beta,
        "loss_type": losses,
        "loss_weights": dpo.loss_weights,
        "label_smoothing": dpo.label_smoothing,
        "precompute_ref_log_probs": precompute,
        "disable_dropout": True,
    }
    if dpo.loss_weights is not None and len(dpo.loss_weights) != len(losses):
        raise ConfigError(
            f"{len(dpo.loss_weights)} loss_weights for {len(losses)} losses",
            where="dpo.loss_weights",
        )
    if "exo_pair" in losses and dpo.label_smoothing == 0:
        raise ConfigError(
            "the loss exo_pair needs a label_smoothing above 0",
            where="dpo.label_smoothing",
            hint="--set dpo.label_smoothing=0.001",
        )
    return _merged(arguments, dpo, DPOConfig, where="dpo")


def _common(recipe: Recipe, training: Training, job: Job) -> dict[str, Any]:
    on_gpu = job.world.device == "cuda"
    checkpointing = training.gradient_checkpointing
    arguments: dict[str, Any] = {
        "output_dir": str(job.folder),
        "run_name": f"{recipe.name}-{job.folder.parent.name}",
        "seed": recipe.seed,
        "data_seed": recipe.seed,
        # Passes are planned; transformers uses this number only to estimate.
        "per_device_train_batch_size": job.passes.largest,
        "per_device_eval_batch_size": job.eval_batch_size,
        "gradient_accumulation_steps": job.passes.per_step,
        # The planned order covers all epochs, so the trainer sees one long epoch.
        "num_train_epochs": 1,
        "max_steps": job.steps,
        "learning_rate": training.learning_rate,
        "lr_scheduler_type": training.lr_scheduler,
        # Below 1 it is a ratio (transformers 5), 1 and above a count.
        "warmup_steps": training.warmup_ratio if training.warmup_ratio < 1 else job.steps,
        "weight_decay": training.weight_decay,
        "max_grad_norm": training.max_grad_norm,
        "optim": OPTIMIZERS[training.optimizer],
        "gradient_checkpointing": on_gpu if checkpointing == "auto" else bool(checkpointing),
        "max_length": training.max_length,
        "bf16": job.world.bf16,
        "fp16": False,
        "use_cpu": not on_gpu,
        "average_tokens_across_devices": True,
        "ddp_find_unused_parameters": False,
        "dataloader_drop_last": False,
        "dataloader_pin_memory": on_gpu,
        "ignore_data_skip": False,
        # Each step is logged to our callback, which averages over `log_every` and outlives a kill.
        "logging_strategy": "steps",
        "logging_steps": 1,
        "logging_first_step": False,
        "logging_nan_inf_filter": False,
        "disable_tqdm": True,
        "report_to": list(recipe.track.to) or "none",
        "project": recipe.track.project,
        "eval_strategy": "steps" if job.has_test else "no",
        "eval_steps": training.eval_every or job.steps,
        "eval_on_start": job.has_test and (not job.resumes or job.owes_evaluation),
        # Rotation is ours, after a checkpoint is verified.
        "save_strategy": "steps",
        "save_steps": training.save_every,
        "save_total_limit": None,
        "push_to_hub": False,
    }
    if recipe.launch.strategy == "zero3" and job.world.size > 1:
        arguments["deepspeed"] = zero3.configuration(job.world)
    if training.lr_scheduler == "cosine_with_min_lr":
        arguments["lr_scheduler_kwargs"] = {"min_lr_rate": 0.1}
    return arguments


def _merged(
    arguments: dict[str, Any], training: Training, target: type, *, where: str
) -> dict[str, Any]:
    """`arguments` with `trainer_args` added; ConfigError with every key that may not be there.

    The configuration's own check has refused most of them from its table; this one knows the
    installed classes.
    """
    known = [field.name for field in fields(target)]
    problems: list[Problem] = []
    for key in training.trainer_args:
        place = f"{where}.trainer_args.{key}"
        if key not in known:
            problems.append(
                Problem(f"{target.__name__} has no field '{key}'{did_you_mean(key, known)}", place)
            )
        elif key in arguments and key not in OVERRIDABLE:
            hint = f"zephyrctl config explain {where}"
            problems.append(Problem(f"'{key}' is decided by the program", place, hint))
    if problems:
        raise ConfigError.of(problems)
    return arguments | training.trainer_args
