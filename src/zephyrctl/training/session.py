"""How does a training stage go from the prepared data to a published model?

The steps are the same for both stages; what is particular to one is its `method.Method`.
"""

import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from transformers import PrinterCallback
from transformers.utils import logging as transformers_logging

from zephyrctl.config.schema import Recipe
from zephyrctl.config.schema.training import Training
from zephyrctl.errors import TrainingDiverged
from zephyrctl.runs import adjustments, heartbeat, signals, verdict
from zephyrctl.runs.manifest import Result
from zephyrctl.runs.store import Run, StageDir
from zephyrctl.runs.verdict import Check
from zephyrctl.training import (
    checkpoints,
    diverged,
    memory,
    micro_batches,
    outcome,
    preflight,
    preparing,
    publish,
    recompute,
    strategies,
)
from zephyrctl.training.compile import compile_layers
from zephyrctl.training.experts import router_settings_stay
from zephyrctl.training.fused_head import labelled_positions_only
from zephyrctl.training.loading import formats_stay
from zephyrctl.training.method import Method, Plan
from zephyrctl.training.processes import World, barrier, by_first, join
from zephyrctl.training.stops import Stops


def train(
    recipe: Recipe, run: Run, *, stage: Literal["sft", "dpo"], make: Callable[[Recipe], Method]
) -> Result:
    """Train one stage, or go on with it; StoppedEarly where a request to stop was answered.

    `make` builds what is particular to the stage, from the recipe as it was adjusted to the memory.
    """
    transformers_logging.set_verbosity_warning()
    transformers_logging.disable_progress_bar()
    # Names that TRL itself uses; nothing a user could act on.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|trl)\.")
    recipe = _adjusted(recipe, run.stage(stage))
    method = make(recipe)
    outcome.check_expected(method)
    world = join(recipe)
    with labelled_positions_only(world.device):
        return _train(recipe, run, method, world)


def _adjusted(recipe: Recipe, folder: StageDir) -> Recipe:
    """The recipe with the passes that fit into the memory, as earlier attempts found."""
    found = adjustments.read(folder)
    for text in found.because[-1:]:
        folder.reporter().notice(f"passes are smaller than the recipe's: {text}", level="warning")
    settings = recipe.sft if folder.name == "sft" else recipe.dpo
    return recipe.model_copy(update={folder.name: found.applied(settings)})


def _train(recipe: Recipe, run: Run, method: Method, world: World) -> Result:
    plan, resume = preparing.prepare(recipe, run, method, world)
    with heartbeat.resting("building"), signals.at_once():
        trainer = _build(method, plan)
        if resume is None:
            method.before(trainer, plan)
    if resume is None:
        plan.watch.take_samples(step=0, total=plan.job.steps)
        _stop_if_asked(trainer, plan)
    _run(trainer, plan, resume)
    if plan.job.has_test and trainer.held_out is None:
        trainer.evaluate()  # killed after the last step: its evaluation was not kept by row
    _stop_if_asked(trainer, plan)
    metrics = outcome.metrics(method, plan)
    held_out = trainer.held_out
    trainer.optimizer = trainer.lr_scheduler = None
    with heartbeat.resting("publishing"):
        policy = publish.in_one_piece(
            recipe, method.training, plan.policy, world, where=method.stage
        )
        whole = replace(plan, policy=policy)
        model = by_first(lambda: _publish(recipe, method, whole, held_out))
    metrics[verdict.METRIC] = verdict.to_metric(plan.watch.canaries.finish(steps=plan.job.steps))
    barrier()
    outputs = [model, plan.folder.samples_path] if plan.watch.sampler.prompts else [model]
    return Result(metrics, outputs)


def _build(method: Method, plan: Plan) -> Any:
    with formats_stay(plan.policy), router_settings_stay(plan.policy.model):
        trainer = method.trainer(plan)
    strategies.install(trainer, plan.strategy)
    trainer.passes = plan.job.passes
    trainer.optimizer_name = method.training.optimizer
    trainer.diverged_folder = plan.folder.path
    plan.watch.keep_batch = partial(_keep_batch, plan)
    trainer.room = memory.Room(plan.folder, _limit(method.training))
    trainer.stops = Stops(plan.folder, plan.watch.progress)
    trainer.add_callback(trainer.stops)
    trainer.add_callback(preflight.Preflight(trainer))
    trainer.remove_callback(PrinterCallback)
    if trainer.args.gradient_checkpointing and plan.policy.peft is not None:
        # Frozen embeddings would cut the graph before the first checkpointed layer.
        plan.policy.model.enable_input_require_grads()
    if method.training.gradient_checkpointing == "selective":
        recompute.keep_attention(plan.policy.model)
    if method.training.compile is True:
        layers = compile_layers(plan.policy.model, where=f"{method.stage}.compile")
        plan.reporter.notice(f"{layers} decoder layers are compiled; the first steps wait for it")
    return trainer


def _keep_batch(plan: Plan, step: int, loss: float) -> Path:
    rows = plan.splits.train.select(plan.order.step(step - 1))
    path = plan.folder.path / f"spike-step{step}.json"
    return diverged.keep_step(path, rows, plan.tokenizer, step=step, loss=loss)


def _limit(training: Training) -> int | None:
    """Most tokens of a pass, where they decide."""
    return micro_batches.limit_of(training) if training.micro_batch_size == "auto" else None


def _run(trainer: Any, plan: Plan, resume: checkpoints.Resume | None) -> None:
    """Train to the end. Divergence names the last good checkpoint; a stop is an error of its own,
    because transformers returns from it as from a finished training."""
    try:
        trainer.train(resume_from_checkpoint=str(resume.path) if resume is not None else None)
    except TrainingDiverged as error:
        good = checkpoints.newest(plan.folder.checkpoints)
        stands = f"last good checkpoint: {good}" if good else "no checkpoint was saved before"
        rows = diverged.describe(error.where, plan.run, plan.tokenizer, stage=plan.folder.name)
        parts = [stands, *([rows] if rows else []), *([error.hint] if error.hint else [])]
        raise TrainingDiverged(error.message, where=error.where, hint="; ".join(parts)) from error
    except Exception as error:
        # Outside of a forward pass, such as the optimizer's first step.
        passes = plan.job.passes
        if not memory.is_shortage(error):
            raise
        examples = len(passes.batches[passes.heaviest])
        at = f"step {trainer.state.global_step + 1}"
        raise trainer.room.error(at, examples=examples, tokens=passes.most_tokens) from error
    step = trainer.state.global_step
    if trainer.stops.answered or step < plan.job.steps:
        raise trainer.stops.error(step=step, total=plan.job.steps)


def _stop_if_asked(trainer: Any, plan: Plan) -> None:
    """Nothing is published after a request to stop, whichever process it reached."""
    trainer.stops.raise_if_asked(
        step=trainer.state.global_step, total=plan.job.steps, device=trainer.args.device
    )


def _publish(recipe: Recipe, method: Method, plan: Plan, held_out: Any) -> Any:
    """Publish, checked against the last evaluation in memory."""
    splits, world = plan.splits, plan.job.world
    rows = outcome.rescored_rows(splits.test_lengths, on_cpu=world.device == "cpu")

    def verify(model: Any) -> None:
        in_memory = method.losses_in_memory(held_out, splits, rows)
        published = method.losses_of(model, held_out, splits, rows)
        publish.compare(in_memory, published, where=plan.folder.model)
        off = max(abs(published[name] - value) for name, value in in_memory.items())
        same = Check("published model is the trained one", "pass", "", off, f"{publish.TOLERANCE}")
        plan.watch.canaries.note([same], step=plan.job.steps)
        plan.reporter.event("published", rows=len(rows), in_memory=in_memory, loaded=published)

    return publish.publish(
        plan.policy,
        plan.tokenizer,
        recipe=recipe,
        run=plan.run,
        stage=method.stage,
        world=world,
        verify=verify if rows else None,
    )
