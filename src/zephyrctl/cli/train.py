"""`zephyrctl sft` and `zephyrctl dpo`: one training stage alone."""

from typing import Annotated

import typer

from zephyrctl.cli.options import (
    ConfigOption,
    JsonOption,
    ProgressOption,
    RecipeOption,
    SetOption,
    YesOption,
    load_from,
)
from zephyrctl.cli.run import (
    AllowChangeOption,
    DryRunOption,
    ForceOption,
    GpusOption,
    PrintLaunchOption,
    VerifyHashOption,
)

RateOption = Annotated[float | None, typer.Option("--learning-rate", help="Peak learning rate.")]
EpochsOption = Annotated[float | None, typer.Option(help="Passes over the training split.")]
StepsOption = Annotated[int | None, typer.Option("--max-steps", help="Optimizer steps.")]
GlobalBatchOption = Annotated[
    int | None, typer.Option("--global-batch-size", help="Examples per optimizer step.")
]
MicroBatchOption = Annotated[
    str | None,
    typer.Option("--micro-batch-size", metavar="N|auto", help="Examples per forward pass."),
]
LengthOption = Annotated[
    int | None, typer.Option("--max-length", help="Longest example in tokens.")
]
SeedOption = Annotated[int | None, typer.Option(help="Seed of every random choice.")]


def sft(
    config: ConfigOption = None,
    recipe: RecipeOption = None,
    sets: SetOption = None,
    learning_rate: RateOption = None,
    epochs: EpochsOption = None,
    max_steps: StepsOption = None,
    global_batch_size: GlobalBatchOption = None,
    micro_batch_size: MicroBatchOption = None,
    max_length: LengthOption = None,
    seed: SeedOption = None,
    gpus: GpusOption = None,
    force: ForceOption = False,
    allow_change: AllowChangeOption = None,
    verify_hash: VerifyHashOption = True,
    dry_run: DryRunOption = False,
    print_launch: PrintLaunchOption = False,
    progress: ProgressOption = None,
    json: JsonOption = False,
    yes: YesOption = False,
) -> None:
    """Supervised fine-tuning; prepares the data first where that is missing or stale."""
    from zephyrctl.cli import driving, launching

    given = (learning_rate, epochs, max_steps, global_batch_size, micro_batch_size, max_length)
    flags = {
        **_training_flags("sft", given),
        "seed": seed,
        "launch.gpus": launching.parse_gpus(gpus),
    }
    loaded = load_from(config, recipe, sets, flags, needs_file=True)
    forced = frozenset({"sft"} if force else ())
    allow = tuple(allow_change or ())
    wishes = driving.Wishes(forced, progress, json, yes, allow=allow, verify_hashes=verify_hash)
    driving.act(loaded, ("data", "sft"), wishes, dry_run=dry_run, print_launch=print_launch)


def dpo(
    config: ConfigOption = None,
    recipe: RecipeOption = None,
    sets: SetOption = None,
    learning_rate: RateOption = None,
    epochs: EpochsOption = None,
    max_steps: StepsOption = None,
    global_batch_size: GlobalBatchOption = None,
    micro_batch_size: MicroBatchOption = None,
    max_length: LengthOption = None,
    beta: Annotated[float | None, typer.Option(help="Pull towards the reference.")] = None,
    loss: Annotated[str | None, typer.Option(metavar="NAME", help="DPO loss.")] = None,
    seed: SeedOption = None,
    gpus: GpusOption = None,
    force: ForceOption = False,
    allow_change: AllowChangeOption = None,
    verify_hash: VerifyHashOption = True,
    dry_run: DryRunOption = False,
    print_launch: PrintLaunchOption = False,
    progress: ProgressOption = None,
    json: JsonOption = False,
    yes: YesOption = False,
) -> None:
    """Direct preference optimisation of this run's SFT model, or of `dpo.init_from`."""
    from zephyrctl.cli import driving, launching

    given = (learning_rate, epochs, max_steps, global_batch_size, micro_batch_size, max_length)
    flags = {**_training_flags("dpo", given), "dpo.beta": beta, "dpo.loss": loss, "seed": seed}
    flags["launch.gpus"] = launching.parse_gpus(gpus)
    loaded = load_from(config, recipe, sets, flags, needs_file=True)
    forced = frozenset({"dpo"} if force else ())
    allow = tuple(allow_change or ())
    wishes = driving.Wishes(forced, progress, json, yes, allow=allow, verify_hashes=verify_hash)
    if not print_launch:
        driving.require_init_model(loaded.recipe)
    driving.act(loaded, ("data", "dpo"), wishes, dry_run=dry_run, print_launch=print_launch)


def _training_flags(stage: str, given: tuple[object, ...]) -> dict[str, object]:
    names = (
        "learning_rate", "epochs", "max_steps", "global_batch_size", "micro_batch_size",
        "max_length",
    )  # fmt: skip
    return {f"{stage}.{name}": value for name, value in zip(names, given, strict=True)}
