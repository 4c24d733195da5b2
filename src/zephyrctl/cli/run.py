"""`zephyrctl run`: every stage from one file, what is done already is skipped."""

from typing import Annotated, Literal

import typer

from zephyrctl.cli.options import (
    ConfigOption,
    JsonOption,
    MaxCostOption,
    ProgressOption,
    RecipeOption,
    SetOption,
    YesOption,
    load_from,
)

StageChoice = Literal["data", "sft", "dpo", "eval", "report"]
ForceOption = Annotated[bool, typer.Option("--force", help="Do it again although nothing changed.")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done and why, and do nothing.")
]
PrintLaunchOption = Annotated[
    bool, typer.Option("--print-launch", help="Print the commands that would be started.")
]
GpusOption = Annotated[
    str | None, typer.Option(metavar="WHICH", help="GPUs: all, none, or numbers such as 0,1.")
]
AllowChangeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-change",
        metavar="FIELD",
        help="Let unfinished training go on although FIELD changed; recorded. Repeatable.",
    ),
]
VerifyHashOption = Annotated[
    bool,
    typer.Option(
        "--verify-hash/--no-verify-hash",
        help="Compare a checkpoint with its digests before training goes on from it.",
    ),
]


def run(
    config: ConfigOption = None,
    recipe: RecipeOption = None,
    sets: SetOption = None,
    first: Annotated[
        StageChoice | None, typer.Option("--from", help="Begin with this stage.")
    ] = None,
    last: Annotated[StageChoice | None, typer.Option("--until", help="End with it.")] = None,
    gpus: GpusOption = None,
    max_cost: MaxCostOption = None,
    force: ForceOption = False,
    allow_change: AllowChangeOption = None,
    verify_hash: VerifyHashOption = True,
    dry_run: DryRunOption = False,
    print_launch: PrintLaunchOption = False,
    progress: ProgressOption = None,
    json: JsonOption = False,
    yes: YesOption = False,
) -> None:
    """Carry out data, sft, dpo, eval and report.

    A stage whose inputs did not change is skipped; one that was interrupted goes on.
    """
    from zephyrctl.cli import driving, launching
    from zephyrctl.stages.pipeline import window

    stages = window(first=first, last=last)
    flags = {"launch.gpus": launching.parse_gpus(gpus), "eval.max_cost": max_cost}
    loaded = load_from(config, recipe, sets, flags, needs_file=True)
    wishes = driving.Wishes(
        frozenset(stages) if force else frozenset(),
        progress,
        json,
        yes,
        allow=tuple(allow_change or ()),
        verify_hashes=verify_hash,
    )
    driving.act(loaded, stages, wishes, dry_run=dry_run, print_launch=print_launch)
