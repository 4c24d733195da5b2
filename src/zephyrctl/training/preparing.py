"""What does a training stage need before its trainer is made?

The prepared rows, a checkpoint to go on from, the model, the order of examples: cheap checks first.
"""

from dataclasses import replace

from zephyrctl.config.schema import Recipe
from zephyrctl.config.schema.training import Training
from zephyrctl.data.load import sample_prompts
from zephyrctl.data.tokenizers import load_tokenizer
from zephyrctl.errors import DataError, quoted
from zephyrctl.models import remote_code
from zephyrctl.runs import signals
from zephyrctl.runs.metrics import Reporter
from zephyrctl.runs.store import Run
from zephyrctl.runs.verdict import Check
from zephyrctl.training import (
    attention,
    base_checks,
    micro_batches,
    order,
    preflight,
    resuming,
    row_checks,
    schedule,
    starting_point,
    strategies,
    token_checks,
    trackers,
)
from zephyrctl.training.callbacks import Watch
from zephyrctl.training.checkpoints import Resume
from zephyrctl.training.compile import check_compiler
from zephyrctl.training.layout import Layout, decide
from zephyrctl.training.loading import Policy, check_vocabulary, load_policy
from zephyrctl.training.method import Method, Plan, Splits
from zephyrctl.training.processes import World
from zephyrctl.training.progress import EVALUATION, Progress
from zephyrctl.training.progress import load as load_progress
from zephyrctl.training.samples import Sampler
from zephyrctl.training.weights import load_probe


def prepare(recipe: Recipe, run: Run, method: Method, world: World) -> tuple[Plan, Resume | None]:
    """Everything up to the trainer; every rank must call it."""
    folder = run.stage(method.stage)
    reporter = folder.reporter()
    training = method.training
    strategy = strategies.choose(recipe, world, stage=method.stage)
    if alone := strategies.overridden(recipe, strategy):
        reporter.notice(alone, level="warning")
    trackers.prepare(recipe.track, folder=folder.path)
    micro_batches.check_division(training, world_size=world.size, where=method.stage)
    if training.compile is True:
        check_compiler(world.device, where=f"{method.stage}.compile")
    splits = _load(method, run)
    start = starting_point.find(recipe, run, stage=method.stage, say=reporter.notice)
    vocabulary = base_checks.check_architecture(start, training, where=method.stage)
    work, resume = resuming.find(folder, reporter, world, strategy)
    with signals.at_once():
        row_checks.check(recipe, run, method.stage, vocabulary=vocabulary, reporter=reporter)
        tokenizer = load_tokenizer(str(start.tokenizer), chat_template=recipe.model.chat_template)
        tokens: list[Check] = []
        if resume is None and world.is_first:
            tokens = token_checks.check(recipe, run, tokenizer, stage=method.stage)
        policy = load_policy(recipe, training, start, world, where=method.stage)
        check_vocabulary(policy, tokenizer)
        layout = _lay_out(recipe, method, policy, world, reporter)
        strategies.apply(strategy, policy, world)
    begun = resuming.place_of(resume)
    splits, planned, job = schedule.make(
        method, splits, layout, seed=recipe.seed, world=world, begun=begun
    )
    progress = load_progress(resume.path) if resume is not None else Progress()
    progress.changed = list(dict.fromkeys([*progress.changed, *resuming.changed(resume, work)]))
    job = replace(
        job,
        folder=folder.checkpoints,
        resumes=resume is not None,
        owes_evaluation=EVALUATION in progress.owed,
    )
    if resume is None:
        if strategy.size > 1:
            reporter.notice(strategy.describe())
        _say_what_is_done(reporter, policy, planned, training=training, splits=splits)
    preflight.check_disk(folder, policy, keep=training.most_checkpoints)
    prompts = sample_prompts(run, method.stage, training.sample_prompts)
    watch = Watch(
        training=training,
        folder=folder,
        reporter=reporter,
        sampler=Sampler(policy.model, tokenizer, prompts, folder),
        world=world,
        progress=progress,
        work=work,
        order=planned,
    )
    _set_up(watch, resume, tokens=tokens)
    made = (run, folder, reporter, job, policy, tokenizer, splits, planned, layout, watch)
    return Plan(*made, strategy), resume


def _set_up(watch: Watch, resume: Resume | None, *, tokens: list[Check]) -> None:
    """Let the canaries go on from the checkpoint, or begin with what the checks of tokens found."""
    if resume is not None:
        watch.canaries.probe = load_probe(resume.path)
        return
    watch.canaries.note(tokens, step=0)
    watch.canaries.before_training(steps=watch.order.steps)


def _load(method: Method, run: Run) -> Splits:
    """The prepared rows; DataError where there is nothing to train on."""
    splits = method.load(run)
    if not len(splits.train):
        raise DataError(
            f"the {method.stage} training split is empty",
            where=str(run.stage("data").path / method.stage),
            hint=f"zephyrctl data stats -c {quoted(run.root / 'config.yaml')}",
        )
    return splits


def _lay_out(
    recipe: Recipe, method: Method, policy: Policy, world: World, reporter: Reporter
) -> Layout:
    """How examples share a forward pass; the model's attention is made to keep them apart."""
    layout = decide(
        policy.model,
        method.training,
        kernel=recipe.model.attention,
        device=world.device,
        where=method.stage,
        say=reporter.notice,
    )
    if layout.padding_free:
        attention.install(policy.model)
    return layout


def _say_what_is_done(
    reporter: Reporter,
    policy: Policy,
    planned: order.Order,
    *,
    training: Training,
    splits: Splits,
) -> None:
    if own_code := remote_code.said_of(str(policy.start.base)):
        reporter.notice(own_code, level="warning")
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
