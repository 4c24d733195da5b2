"""`zephyrctl eval rescore alpaca-eval`: figures of stored annotations, without a judge."""

from pathlib import Path
from typing import Annotated

import typer

from zephyrctl import terminal
from zephyrctl.cli.options import JsonOption
from zephyrctl.errors import GateMissed, UsageError


def alpaca_eval(
    annotations: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help="annotations.json, its reduced JSONL, or stored judgments."
        ),
    ],
    version: Annotated[int, typer.Option(min=1, max=2, help="AlpacaEval 2 or 1.")] = 2,
    df_gamed: Annotated[
        Path | None, typer.Option(metavar="FILE", help="df_gamed.csv, for length control.")
    ] = None,
    baseline_outputs: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The baseline's outputs, to look up instructions."),
    ] = None,
    lc_c: Annotated[
        float | None,
        typer.Option("--lc-c", metavar="C", help="Of the length-controlled fit [by validation]."),
    ] = None,
    upstream_compat: Annotated[
        bool,
        typer.Option(
            "--upstream-compat",
            help="Take difficulties by row position, which is wrong behind a missing answer.",
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Compute AlpacaEval's figures from stored annotations: no judge, no key, no network.

    zephyrctl eval rescore alpaca-eval --annotations annotations.json --df-gamed df_gamed.csv
    """
    from zephyrctl.evaluation.alpaca_eval.rescore import Inputs, rescore

    if lc_c is not None and not lc_c > 0:
        raise UsageError(f"--lc-c must be above 0, not {lc_c:g}", hint="--lc-c 21.5443469")
    found = rescore(
        Inputs(
            annotations=annotations,
            version=1 if version == 1 else 2,
            df_gamed=df_gamed,
            baseline_outputs=baseline_outputs,
            c=lc_c,
            upstream_compat=upstream_compat,
        )
    )
    for text in found.notices:
        terminal.say(f"! {text}")
    if json:
        terminal.emit_json(found.figures)
    else:
        for name, value in found.figures.items():
            terminal.out(f"{name:<26} {_shown(value)}")
    if not found.stands:
        problem = "too few annotations have a preference to give a rate"
        terminal.say_error(GateMissed(problem, where=str(annotations)))
        raise typer.Exit(GateMissed.exit_code)


def _shown(value: float | int | None) -> str:
    if value is None:
        return "–"
    return f"{value:.2f}" if isinstance(value, float) else str(value)
