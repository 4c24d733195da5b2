"""`zephyrctl eval compare` and `eval show`: look at what was scored."""

from typing import Annotated

import typer

from zephyrctl import terminal
from zephyrctl.cli.options import JsonOption

BenchmarkOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Only this benchmark [all that both have].")
]
JudgeOption = Annotated[str | None, typer.Option(metavar="NAME", help="Only this judge [all].")]


def register(app: typer.Typer) -> None:
    """Add the commands to `zephyrctl eval`."""
    app.command()(compare)
    app.command()(show)


def compare(
    a: Annotated[
        str,
        typer.Argument(
            metavar="A", help="The earlier one: RUN:MODEL, @sft, RUN/sft, or a whole RUN."
        ),
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="The later one.")],
    benchmark: BenchmarkOption = None,
    judge: JudgeOption = None,
    json: JsonOption = False,
) -> None:
    """Compare stored scores, question by question: the difference is B − A.

    zephyrctl eval compare @sft @dpo

    zephyrctl eval compare runs/one:dpo runs/two:dpo --benchmark mt-bench
    """
    from zephyrctl.cli import comparing

    found, apart = comparing.compared(a, b, benchmark=benchmark, judge=judge)
    if json:
        terminal.emit_json({"a": a, "b": b, "comparisons": found, "not_comparable": apart})
        return
    for line in comparing.lines_of(found, apart):
        terminal.out(line)


def show(
    ref: Annotated[
        str,
        typer.Argument(metavar="RUN", help="A run: @last, a name, a path, RUN:MODEL, or @dpo."),
    ],
    benchmark: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which benchmark [the last one judged].")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which model [the last one judged].")
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="NAME", help="A second model, side by side.")
    ] = None,
    judge: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which judge [the last one].")
    ] = None,
    category: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only questions of this category.")
    ] = None,
    question: Annotated[str | None, typer.Option(metavar="ID", help="Only this question.")] = None,
    best: Annotated[bool, typer.Option("--best", help="The best, not the worst.")] = False,
    rows: Annotated[int, typer.Option("--rows", "-n", min=1, help="How many.")] = 10,
    json: JsonOption = False,
) -> None:
    """Show the worst (or best) answers of a model with their verdicts.

    With --against, those where it does worst beside the other model. On a terminal the text goes
    through $PAGER.

    zephyrctl eval show @last --benchmark mt-bench --model dpo --against sft
    """
    from zephyrctl.cli import showing

    wanted = showing.Wanted(ref, benchmark, model, against, judge, category, question, best, rows)
    found = showing.find(wanted)
    if json:
        terminal.emit_json(found.to_json())
        return
    showing.page(found)
