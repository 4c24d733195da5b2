"""Which settings contradict each other.

Each check reads a valid recipe and changes nothing. The first path of a finding is where the
problem is shown, unless only another of its paths was given by the user.
"""

from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Literal

from zephyrctl import catalogue
from zephyrctl.config import preference_checks, sharing
from zephyrctl.config.evaluation_checks import evaluation_findings
from zephyrctl.config.finding import Finding
from zephyrctl.config.schema import Recipe
from zephyrctl.config.schema.data import Source
from zephyrctl.config.schema.training import Training
from zephyrctl.config.trainer_args import FIELDS, OWNED, REFUSED
from zephyrctl.registry import did_you_mean

TEMPLATES = Path(__file__).parent.parent / "templates"


def check(recipe: Recipe) -> list[Finding]:
    """Every contradiction in a recipe whose single values are valid."""
    return [finding for one in _CHECKS for finding in one(recipe)]


def _stages(recipe: Recipe) -> list[tuple[Literal["sft", "dpo"], Training]]:
    return [("sft", recipe.sft), ("dpo", recipe.dpo)]


def _adapters(recipe: Recipe) -> Iterator[Finding]:
    for stage, training in _stages(recipe):
        kind = f"{stage}.adapter.type"
        if training.adapter.type != "none" and training.trainable_layers != "all":
            yield Finding(
                (f"{stage}.trainable_layers", kind),
                f"{stage}.trainable_layers chooses among the weights, "
                f"and {kind} = {training.adapter.type} freezes them all",
                f"--set {stage}.trainable_layers=all, or --set {kind}=none",
            )
        if recipe.model.load_in_4bit and training.adapter.type == "none":
            yield Finding(
                ("model.load_in_4bit", kind),
                f"4-bit weights cannot be trained, and {kind} is none",
                f"--set {kind}=lora, or --set model.load_in_4bit=false",
            )


def _number_format(recipe: Recipe) -> Iterator[Finding]:
    # AdamW's steps at these rates are smaller than half a bfloat16 step: they would round to
    # nothing, and the model would not learn.
    for stage, training in _stages(recipe):
        if recipe.model.dtype in ("bfloat16", "float16") and training.adapter.type == "none":
            yield Finding(
                ("model.dtype", f"{stage}.adapter.type"),
                f"{recipe.model.dtype} weights cannot be trained whole in {stage}: "
                "small updates are lost to rounding",
                "--set model.dtype=auto keeps float32 weights; a GPU still computes in bfloat16",
            )


def _batches(recipe: Recipe) -> Iterator[Finding]:
    for stage, training in _stages(recipe):
        micro, whole = training.micro_batch_size, training.global_batch_size
        if isinstance(micro, int) and whole % micro:
            yield Finding(
                (f"{stage}.micro_batch_size", f"{stage}.global_batch_size"),
                f"{stage}.global_batch_size = {whole} is not a multiple of "
                f"{stage}.micro_batch_size = {micro}",
                f"--set {stage}.micro_batch_size=auto",
            )


def _lengths(recipe: Recipe) -> Iterator[Finding]:
    dpo = recipe.dpo
    if dpo.max_prompt_length >= dpo.max_length:
        yield Finding(
            ("dpo.max_prompt_length", "dpo.max_length"),
            f"dpo.max_prompt_length = {dpo.max_prompt_length} leaves no room for a completion "
            f"in dpo.max_length = {dpo.max_length}",
            f"--set dpo.max_prompt_length={max(4, dpo.max_length // 2)}",
        )


def _start(recipe: Recipe) -> Iterator[Finding]:
    if recipe.dpo.init_from in ("dpo", "@dpo"):
        yield Finding(
            ("dpo.init_from",),
            f"dpo.init_from = {recipe.dpo.init_from} is the model that this stage is about to make",
            "--set dpo.init_from=@sft",
        )


def _trainer_args(recipe: Recipe) -> Iterator[Finding]:
    for stage, training in _stages(recipe):
        for name in training.trainer_args:
            path = (f"{stage}.trainer_args.{name}",)
            if name in OWNED[stage]:
                key = OWNED[stage][name]
                yield Finding(
                    path,
                    f"{stage}.trainer_args.{name} is decided by {key}",
                    f"zephyrctl config explain {key}",
                )
            elif name in REFUSED:
                yield Finding(
                    path, f"{stage}.trainer_args.{name} cannot be passed: {REFUSED[name]}"
                )
            elif name not in FIELDS[stage]:
                config = "SFTConfig" if stage == "sft" else "DPOConfig"
                usable = FIELDS[stage] - OWNED[stage].keys() - REFUSED.keys()
                yield Finding(
                    path,
                    f"TRL's {config} has no field '{name}'{did_you_mean(name, sorted(usable))}",
                    f"zephyrctl config explain {stage}.trainer_args",
                )


def _sources(recipe: Recipe) -> Iterator[Finding]:
    converters = ["auto", *catalogue.CONVERTERS.names()]
    for stage, data in (("sft", recipe.data.sft), ("dpo", recipe.data.dpo)):
        trained = {_identity(source) for source in data.train}
        for split, sources in (("train", data.train), ("test", data.test)):
            for index, source in enumerate(sources):
                place = f"data.{stage}.{split}.{index}"
                if source.format not in converters:
                    yield Finding(
                        (f"{place}.format",),
                        f"unknown converter '{source.format}'"
                        f"{did_you_mean(source.format, converters)}",
                        f"known: {', '.join(converters)}",
                    )
                if split == "test" and _identity(source) in trained:
                    yield Finding(
                        (place, f"data.{stage}.train"),
                        f"data.{stage}.test[{index}] is also a source of data.{stage}.train",
                        f"--set 'data.{stage}.test=[]' holds out rows of the training source",
                    )
                if source.path == "":
                    yield Finding(
                        (f"{place}.path",), f"data.{stage}.{split}[{index}].path is empty"
                    )


def _identity(source: Source) -> tuple[str | None, ...]:
    return (source.path, source.config, source.split, source.revision)


def _template(recipe: Recipe) -> Iterator[Finding]:
    given = recipe.model.chat_template
    packaged = sorted(path.stem for path in TEMPLATES.glob("*.jinja"))
    if given in ("tokenizer", *packaged) or given.endswith(".jinja"):
        return
    known = ["tokenizer", *packaged]
    yield Finding(
        ("model.chat_template",),
        f"unknown chat template '{given[:60]}'{did_you_mean(given, known)}",
        f"known: {', '.join(known)}, or a .jinja file",
    )


def _launch(recipe: Recipe) -> Iterator[Finding]:
    given = recipe.launch
    if isinstance(given.gpus, list):
        if not given.gpus:
            yield Finding(
                ("launch.gpus",), "launch.gpus is an empty list", "--set launch.gpus=none"
            )
        if min(given.gpus, default=0) < 0 or len(set(given.gpus)) < len(given.gpus):
            yield Finding(
                ("launch.gpus",),
                "launch.gpus needs different indices of 0 or more",
                "nvidia-smi -L",
            )
    several = isinstance(given.gpus, list) and len(given.gpus) > 1
    several = several or (given.gpus == "none" and given.cpu_processes > 1)
    if several and given.strategy == "single":
        yield Finding(
            ("launch.strategy", "launch.gpus", "launch.cpu_processes"),
            "launch.strategy is single, and launch asks for several processes",
            "--set launch.strategy=auto",
        )
    if given.strategy in sharing.SHARDED:
        each = (sharing.problems(recipe, s, strategy=given.strategy) for s, _ in _stages(recipe))
        # What is wrong with the model is found for either stage.
        for problem in dict.fromkeys(chain.from_iterable(each)):
            where, hint = problem.where or "launch.strategy", problem.hint or ""
            yield Finding((where, "launch.strategy"), problem.message, hint)


def _empty_names(recipe: Recipe) -> Iterator[Finding]:
    for path, value in (
        ("model.base", recipe.model.base),
        ("output_root", recipe.output_root),
        ("dpo.init_from", recipe.dpo.init_from),
    ):
        if not value.strip():
            yield Finding((path,), f"{path} is empty", f"zephyrctl config explain {path}")


_CHECKS: list[Callable[[Recipe], Iterator[Finding]]] = [
    _empty_names,
    _adapters,
    _number_format,
    _batches,
    _lengths,
    _start,
    preference_checks.losses,
    preference_checks.trainer_args,
    preference_checks.reference,
    _trainer_args,
    _sources,
    evaluation_findings,
    _template,
    _launch,
]
