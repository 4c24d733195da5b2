"""How does a training stage go from the prepared data to a published model?

The steps are the same for both stages; what is particular to one is its `method.Method`.
"""

import shutil
import warnings
from dataclasses import replace
from typing import Any

import torch
from transformers import PrinterCallback
from transformers.utils import logging as transformers_logging

from zephyrctl.config.schema import Recipe
from zephyrctl.config.schema.training import Training
from zephyrctl.data.load import sample_prompts
from zephyrctl.data.tokenizers import load_tokenizer
from zephyrctl.errors import (
    DataError,
    DiskFull,
    EnvironmentProblem,
    StoppedEarly,
    TrainingDiverged,
)
from zephyrctl.runs import verdict
from zephyrctl.runs.manifest import Result
from zephyrctl.runs.metrics import Reporter
from zephyrctl.runs.store import Run, StageDir
from zephyrctl.runs.verdict import Check
from zephyrctl.training import (
    attention,
    base_checks,
    checkpoints,
    diverged,
    micro_batches,
    order,
    outcome,
    publish,
    recompute,
    resuming,
    row_checks,
    schedule,
    starting_point,
    strategies,
    token_checks,
    trackers,
)
from zephyrctl.training.callbacks import Watch
from zephyrctl.training.compile import check_compiler, compile_layers
from zephyrctl.training.experts import router_settings_stay
from zephyrctl.training.fused_head import labelled_positions_only
from zephyrctl.training.layout import decide
from zephyrctl.training.loading import Policy, check_vocabulary, formats_stay, load_policy
from zephyrctl.training.method import Method, Plan, Splits
from zephyrctl.training.processes import World, barrier, join
from zephyrctl.training.progress import Progress
from zephyrctl.training.progress import load as load_progress
from zephyrctl.training.samples import Sampler

_TENSORS_PER_TRAINED_WEIGHT = 3
"""In a checkpoint: the weight and AdamW's two moments, in the weight's number format."""


def train(recipe: Recipe, run: Run, *, method: Method) -> Result:
    """Train one stage, or go on with it; StoppedEarly where a request to stop was answered."""
    transformers_logging.set_verbosity_warning()
    transformers_logging.disable_progress_bar()
    # Names that TRL itself uses; nothing a user could act on.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|trl)\.")
    outcome.check_expected(method)
    world = join(recipe)
    with labelled_positions_only(world.device):
        return _train(recipe, run, method, world)


def _train(recipe: Recipe, run: Run, method: Method, world: World) -> Result:
    plan, resume = _prepare(recipe, run, method, world)
    trainer = _build(method, plan)
    if resume is None:
        method.before(trainer, plan)
        if world.is_first:
            plan.watch.take_samples(step=0, total=plan.job.steps)
    _run(trainer, plan, resume)
    if plan.job.has_test and trainer.held_out is None:
        trainer.evaluate()  # killed after the last step: its evaluation was not kept by row
    metrics = outcome.metrics(method, plan)
    held_out = trainer.held_out
    trainer.optimizer = trainer.lr_scheduler = None
    model = _publish(recipe, method, plan, held_out) if world.is_first else plan.folder.model
    metrics[verdict.METRIC] = verdict.to_metric(plan.watch.canaries.finish(steps=plan.job.steps))
    barrier()
    if world.is_first:
        checkpoints.clear(plan.folder.checkpoints)  # the model stands for them
    outputs = [model, plan.folder.samples_path] if plan.watch.sampler.prompts else [model]
    return Result(metrics, outputs)


def _prepare(
    recipe: Recipe, run: Run, method: Method, world: World
) -> tuple[Plan, checkpoints.Resume | None]:
    """Everything up to the trainer, cheap checks first."""
    folder = run.stage(method.stage)
    reporter = folder.reporter()
    training = method.training
    strategy = strategies.choose(recipe, world, stage=method.stage)
    trackers.prepare(recipe.track, folder=folder.path)
    micro_batches.check_division(training, world_size=world.size, where=method.stage)
    if training.compile is True:
        check_compiler(world.device, where=f"{method.stage}.compile")
    splits = _load(method, run)
    start = starting_point.find(recipe, run, stage=method.stage, say=reporter.notice)
    vocabulary = base_checks.check_architecture(start, training, where=method.stage)
    work, resume = resuming.find(folder, reporter, world, strategy)
    row_checks.check(recipe, run, method.stage, vocabulary=vocabulary, reporter=reporter)
    tokenizer = load_tokenizer(str(start.tokenizer), chat_template=recipe.model.chat_template)
    tokens: list[Check] = []
    if resume is None and world.is_first:
        tokens = token_checks.check(recipe, run, tokenizer, stage=method.stage)
    policy = load_policy(recipe, training, start, world, where=method.stage)
    check_vocabulary(policy, tokenizer)
    layout = decide(
        policy.model,
        training,
        kernel=recipe.model.attention,
        device=world.device,
        where=method.stage,
        say=reporter.notice,
    )
    if layout.padding_free:
        attention.install(policy.model)
    begun = resuming.place_of(resume)
    splits, planned, job = schedule.make(
        method, splits, layout, seed=recipe.seed, world=world, begun=begun
    )
    job = replace(job, folder=folder.checkpoints, resumes=resume is not None)
    if resume is None:
        _say_what_is_done(reporter, policy, planned, training=training, splits=splits)
    _check_disk(folder, policy, keep=training.keep_checkpoints)
    prompts = sample_prompts(run, method.stage, training.sample_prompts)
    watch = Watch(
        training=training,
        folder=folder,
        reporter=reporter,
        sampler=Sampler(policy.model, tokenizer, prompts, folder),
        world=world,
        progress=load_progress(resume.path) if resume is not None else Progress(),
        work=work,
        order=planned,
    )
    if resume is None:
        watch.canaries.note(tokens, step=0)
        watch.canaries.before_training(steps=planned.steps)
    plan = Plan(run, folder, reporter, job, policy, tokenizer, splits, planned, layout, watch)
    return plan, resume


def _load(method: Method, run: Run) -> Splits:
    """The prepared rows; DataError where there is nothing to train on."""
    splits = method.load(run)
    if not len(splits.train):
        raise DataError(
            f"the {method.stage} training split is empty",
            where=str(run.stage("data").path / method.stage),
            hint=f"zephyrctl data stats -c {run.root}/config.yaml",
        )
    return splits


def _build(method: Method, plan: Plan) -> Any:
    with formats_stay(plan.policy), router_settings_stay(plan.policy.model):
        trainer = method.trainer(plan)
    trainer.passes = plan.job.passes
    trainer.optimizer_name = method.training.optimizer
    trainer.diverged_folder = plan.folder.path
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


def _say_what_is_done(
    reporter: Reporter,
    policy: Policy,
    planned: order.Order,
    *,
    training: Training,
    splits: Splits,
) -> None:
    reporter.notice(policy.describe())
    for text in policy.notices:
        reporter.notice(text, level="warning")
    reporter.notice(
        f"{planned.steps} steps of {training.global_batch_size} examples, "
        f"{planned.examples} in the training split, {len(splits.test)} held out"
    )
    if planned.repeated and planned.steps * training.global_batch_size > planned.examples:
        reporter.notice(
            f"the last step of an epoch is filled with {planned.repeated} examples from its start"
        )


def _check_disk(folder: StageDir, policy: Policy, *, keep: int) -> None:
    """DiskFull before the work where checkpoints and model cannot fit."""
    trained = sum(w.nbytes for w in policy.model.parameters() if w.requires_grad)
    needed = trained * _TENSORS_PER_TRAINED_WEIGHT * (keep + 1) + trained
    folder.path.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder.path).free
    if free < needed:
        raise DiskFull(
            f"{keep + 1} checkpoints and the model need {needed / 2**30:.1f} GiB, "
            f"{free / 2**30:.1f} GiB are free",
            where=str(folder.path),
            hint=f"--set {folder.name}.keep_checkpoints=1, or --set output_root=FOLDER",
        )


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
    except torch.OutOfMemoryError as error:
        name, tokens = plan.folder.name, plan.job.passes.most_tokens
        raise EnvironmentProblem(
            f"the accelerator's memory is too small for {tokens} tokens at once",
            where=f"{name}.micro_batch_tokens",
            hint=f"--set {name}.micro_batch_tokens={max(8, tokens // 2)}   (the same steps)",
        ) from error
    step = trainer.state.global_step
    if plan.watch.stopped or step < plan.job.steps:
        raise StoppedEarly(
            f"stopped at step {step} of {plan.job.steps} on request; checkpoint-{step} stands",
            where=str(checkpoints.folder_of(plan.folder.checkpoints, step)),
            hint="the same command goes on from here",
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
