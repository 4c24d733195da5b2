"""`zephyrctl eval`: score models on benchmarks, and look at single answers."""

from pathlib import Path
from typing import Annotated

import typer

from zephyrctl import terminal
from zephyrctl.cli.options import (
    APP,
    ConfigOption,
    JsonOption,
    ProgressOption,
    RecipeOption,
    SetOption,
)
from zephyrctl.cli.run import DryRunOption, ForceOption, PrintLaunchOption

app = typer.Typer(help="Score models on benchmarks, and look at single answers.", **APP)

ModelsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="MODEL",
        help="base, sft, dpo, @dpo, RUN/dpo, a folder, a Hub id or an endpoint [eval.models].",
        show_default=False,
    ),
]
BaselineOption = Annotated[
    str | None, typer.Option(metavar="MODEL", help="Compare the others with this one.")
]
FailUnderOption = Annotated[
    float | None, typer.Option("--fail-under", help="Exit 7 where the last model is under it.")
]
LimitOption = Annotated[
    int | None, typer.Option(min=1, help="Ask only the first so many questions.")
]
BatchOption = Annotated[
    int | None, typer.Option("--batch-size", min=1, help="Answers generated at once.")
]


@app.command()
def rules(
    models: ModelsArgument = None,
    config: ConfigOption = None,
    recipe: RecipeOption = None,
    sets: SetOption = None,
    questions: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Question file (JSONL).")
    ] = None,
    baseline: BaselineOption = None,
    fail_under: FailUnderOption = None,
    limit: LimitOption = None,
    batch_size: BatchOption = None,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    print_launch: PrintLaunchOption = False,
    progress: ProgressOption = None,
    json: JsonOption = False,
) -> None:
    """Score instructions that code can verify: no judge, no key, no cost.

    zephyrctl eval rules @dpo --baseline sft
    """
    from zephyrctl.cli import driving, scoring

    flags = {
        "eval.rules.questions": str(questions) if questions else None,
        "eval.rules.limit": limit,
        "eval.batch_size": batch_size,
        "eval.baseline": baseline,
        "eval.fail_under": fail_under,
    }
    given = scoring.Given(tuple(models or ()), config, recipe, tuple(sets or ()), flags)
    wishes = driving.Wishes(frozenset({"eval"} if force else ()), progress, json, yes=True)
    scoring.score("rules", given, wishes, dry_run=dry_run, print_launch=print_launch)


@app.command("mt-bench")
def mt_bench(
    models: ModelsArgument = None,
    config: ConfigOption = None,
    recipe: RecipeOption = None,
    sets: SetOption = None,
    judge: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC",
            help="openai:MODEL, openai+http://host/v1:MODEL, local:MODEL or replay:FILE.",
        ),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", metavar="DIR", help="Folder with its files.")
    ] = None,
    references: Annotated[
        str | None, typer.Option(metavar="SET", help="corrected or original references.")
    ] = None,
    baseline: BaselineOption = None,
    fail_under: FailUnderOption = None,
    limit: LimitOption = None,
    batch_size: BatchOption = None,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    print_launch: PrintLaunchOption = False,
    progress: ProgressOption = None,
    json: JsonOption = False,
) -> None:
    """Grade 80 two-turn questions from 1 to 10 by a judge, with FastChat's prompts and files.

    zephyrctl eval mt-bench @sft @dpo --judge openai:gpt-4o --data-dir ./mt_bench
    """
    from zephyrctl.cli import driving, scoring

    flags = {
        "eval.judge.spec": judge,
        "eval.data_dir": str(data_dir) if data_dir else None,
        "eval.mt_bench.references": references,
        "eval.mt_bench.limit": limit,
        "eval.batch_size": batch_size,
        "eval.baseline": baseline,
        "eval.fail_under": fail_under,
    }
    given = scoring.Given(tuple(models or ()), config, recipe, tuple(sets or ()), flags)
    wishes = driving.Wishes(frozenset({"eval"} if force else ()), progress, json, yes=True)
    scoring.score("mt-bench", given, wishes, dry_run=dry_run, print_launch=print_launch)


@app.command()
def show(
    ref: Annotated[str, typer.Argument(metavar="RUN", help="A run: @last, a name or a path.")],
    benchmark: Annotated[str, typer.Option(metavar="NAME", help="Which benchmark.")] = "rules",
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which model [the last one scored].")
    ] = None,
    best: Annotated[bool, typer.Option("--best", help="The best, not the worst.")] = False,
    rows: Annotated[int, typer.Option("--rows", "-n", min=1, help="How many.")] = 10,
    json: JsonOption = False,
) -> None:
    """Show the worst (or best) answers of a model with their verdicts."""
    from zephyrctl.cli import scoring

    found = scoring.ranked(ref, benchmark=benchmark, model=model, best=best)[:rows]
    if json:
        terminal.emit_json({"benchmark": benchmark, "rows": found})
        return
    for row in found:
        for line in scoring.judgment_lines(row):
            terminal.out(line)
