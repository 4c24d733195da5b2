"""`zephyrctl eval`: score models on benchmarks, and look at single answers."""

from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from zephyrctl.cli import evaluate_files, evaluate_results, judge_test, rescoring
from zephyrctl.cli.options import (
    APP,
    ConfigOption,
    JsonOption,
    MaxCostOption,
    ProgressOption,
    RecipeOption,
    SetOption,
    YesOption,
)
from zephyrctl.cli.run import DryRunOption, ForceOption, PrintLaunchOption

_ORDER = (
    "rules", "mt-bench", "alpaca-eval", "compare", "show", "judge-test", "agreement", "rescore",
    "fetch", "import", "export",
)  # fmt: skip
"""As they are met: scores, what is behind them, the judge, the files."""


class InOrder(typer.core.TyperGroup):
    """Lists the commands by `_ORDER`; Typer itself puts groups such as `rescore` last."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=_ORDER.index)


app = typer.Typer(
    cls=InOrder, help="Score models on benchmarks, and look at single answers.", **APP
)
evaluate_files.register(app)
evaluate_results.register(app)
judge_test.register(app)
app.add_typer(rescoring.app, name="rescore")

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
JudgeOption = Annotated[
    str | None,
    typer.Option(
        metavar="SPEC",
        help="openai:MODEL, openai+http://host/v1:MODEL, local:MODEL or replay:FILE.",
    ),
]
DataDirOption = Annotated[
    Path | None, typer.Option("--data-dir", metavar="DIR", help="Folder with its files.")
]
RepeatsOption = Annotated[
    int | None, typer.Option(min=1, max=100, help="Answer and judge so many times.")
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
    mode: Annotated[
        str | None,
        typer.Option(metavar="MODE", help="single (1 to 10), pair (both orders) or both."),
    ] = None,
    repeats: RepeatsOption = None,
    questions: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A benchmark of your own, in MT-Bench's format."),
    ] = None,
    rubric: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its judge prompt, a Jinja file.")
    ] = None,
    judge: JudgeOption = None,
    data_dir: DataDirOption = None,
    references: Annotated[
        str | None, typer.Option(metavar="SET", help="corrected or original references.")
    ] = None,
    baseline: BaselineOption = None,
    fail_under: FailUnderOption = None,
    limit: LimitOption = None,
    batch_size: BatchOption = None,
    max_cost: MaxCostOption = None,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    print_launch: PrintLaunchOption = False,
    progress: ProgressOption = None,
    json: JsonOption = False,
    yes: YesOption = False,
) -> None:
    """Rate 80 two-turn questions from 1 to 10 by a judge, with FastChat's prompts and files.

    With --questions the questions are your own, rated by the packaged rubric or by yours.

    zephyrctl eval mt-bench @sft @dpo --judge openai:gpt-4o --mode both
    """
    from zephyrctl.cli import driving, question_options, scoring

    asked = question_options.Asked(questions, rubric, mode, references, limit)
    flags = {
        **asked.flags(),
        "eval.judge.spec": judge,
        "eval.data_dir": str(data_dir) if data_dir else None,
        "eval.repeats": repeats,
        "eval.batch_size": batch_size,
        "eval.baseline": baseline,
        "eval.fail_under": fail_under,
        "eval.max_cost": max_cost,
    }
    given = scoring.Given(tuple(models or ()), config, recipe, tuple(sets or ()), flags)
    wishes = driving.Wishes(frozenset({"eval"} if force else ()), progress, json, yes)
    scoring.score(asked.benchmark, given, wishes, dry_run=dry_run, print_launch=print_launch)


@app.command("alpaca-eval")
def alpaca_eval(
    models: ModelsArgument = None,
    config: ConfigOption = None,
    recipe: RecipeOption = None,
    sets: SetOption = None,
    version: Annotated[
        int | None, typer.Option(min=1, max=2, help="AlpacaEval 2 or 1 [2].")
    ] = None,
    swap: Annotated[
        bool | None,
        typer.Option(
            "--swap/--no-swap",
            help="Judge both orders [against your own --baseline and by a local judge].",
        ),
    ] = None,
    repeats: RepeatsOption = None,
    judge: JudgeOption = None,
    data_dir: DataDirOption = None,
    baseline: BaselineOption = None,
    fail_under: FailUnderOption = None,
    limit: LimitOption = None,
    batch_size: BatchOption = None,
    max_cost: MaxCostOption = None,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    print_launch: PrintLaunchOption = False,
    progress: ProgressOption = None,
    json: JsonOption = False,
    yes: YesOption = False,
) -> None:
    """Compare answers to 805 instructions with a baseline's by a judge, length-controlled.

    Against upstream's baseline outputs, and with --baseline MODEL also against that model.

    zephyrctl eval alpaca-eval @dpo --judge openai:gpt-4-1106-preview --baseline sft
    """
    from zephyrctl.cli import driving, scoring

    flags = {
        "eval.alpaca_eval.version": version,
        "eval.alpaca_eval.swap": swap,
        "eval.alpaca_eval.limit": limit,
        "eval.repeats": repeats,
        "eval.judge.spec": judge,
        "eval.data_dir": str(data_dir) if data_dir else None,
        "eval.batch_size": batch_size,
        "eval.baseline": baseline,
        "eval.fail_under": fail_under,
        "eval.max_cost": max_cost,
    }
    given = scoring.Given(tuple(models or ()), config, recipe, tuple(sets or ()), flags)
    wishes = driving.Wishes(frozenset({"eval"} if force else ()), progress, json, yes)
    scoring.score("alpaca-eval", given, wishes, dry_run=dry_run, print_launch=print_launch)
