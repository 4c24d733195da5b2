"""`zephyrctl eval fetch|import|export`: public files, and results from and for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from zephyrctl import terminal
from zephyrctl.cli.options import JsonOption, SetOption
from zephyrctl.errors import UsageError

if TYPE_CHECKING:
    from zephyrctl.evaluation.files.bring import Brought


def register(app: typer.Typer) -> None:
    """Add the commands of this module to `zephyrctl eval`."""
    app.command("fetch")(fetch)
    app.command("import")(import_results)
    app.command("export")(export)


def fetch(
    benchmark: Annotated[
        str, typer.Argument(metavar="BENCHMARK", help="mt-bench, alpaca-eval or all.")
    ] = "all",
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="DIR", help="Take them from this folder, by SHA-256."),
    ] = None,
    target: Annotated[
        Path | None,
        typer.Option("--to", metavar="DIR", help="Also lay a copy into this folder."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Fetch questions, judge prompts and references, so that later commands need no network.

    On a machine with a network, and then on one without:

    zephyrctl eval fetch --to ./eval-files

    zephyrctl eval fetch --from ./eval-files
    """
    from zephyrctl.evaluation.files import bring, folders, pinned

    names = pinned.benchmarks_of(benchmark)
    if source and target:
        raise UsageError("--from and --to exclude each other", hint="zephyrctl eval fetch --help")
    if "alpaca-eval" in names:
        folders.tell_licence(say=terminal.say)
    if source:
        found = bring.from_folder(names, source, say=terminal.say)
    elif target:
        found = bring.to_folder(names, target, say=terminal.say)
    else:
        found = bring.into_cache(names, say=terminal.say)
    _show(found, json=json)


def _show(found: list[Brought], *, json: bool) -> None:
    if json:
        terminal.emit_json({"files": [item.to_json() for item in found]})
        return
    for item in found:
        terminal.say(f"{item.state:<9}{item.benchmark:<13}{item.file.path:<46}{item.file.licence}")
    for folder in dict.fromkeys(str(item.folder) for item in found):
        terminal.out(folder)


def import_results(
    source: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of results, or one file of judgments.")
    ],
    name: Annotated[str, typer.Option("--run", metavar="NAME", help="Name of the new run.")],
    form: Annotated[
        Literal["fastchat", "alpaca_eval"] | None,
        typer.Option("--format", help="What it holds [found out]."),
    ] = None,
    sets: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Make a run of FastChat's or AlpacaEval's stored judgments, scored anew.

    Reads model_judgment/*.jsonl with model_answer/ beside it, and annotations.json.

    zephyrctl eval import ./llm_judge --run published
    """
    from zephyrctl.evaluation.exchange.incoming import import_results as bring_in
    from zephyrctl.runs.summary import summarize

    run, was_there = bring_in(source, name=name, wanted=form, sets=tuple(sets or ()))
    manifest = run.stage("eval").read_manifest()
    for text in manifest.notices if manifest else ():
        terminal.say(f"! {text}")
    if was_there:
        terminal.say("the same files were imported before: nothing to do")
    if json:
        terminal.emit_json({**summarize(run), "path": str(run.root), "was_there": was_there})
        return
    from zephyrctl.reports.tables import results_lines

    for line in results_lines(summarize(run, counted=True)):
        terminal.say(line)
    terminal.out(str(run.root))


def export(
    ref: Annotated[str, typer.Argument(metavar="RUN", help="A run: @last, a name or a path.")],
    form: Annotated[
        Literal["fastchat", "alpaca_eval", "json", "csv"],
        typer.Option("--format", help="What to write."),
    ],
    target: Annotated[
        Path, typer.Option("--to", metavar="DIR", help="Folder to write, new or empty.")
    ],
    benchmark: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only this benchmark [all it can hold].")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Write a run's judgments in the layout of FastChat or AlpacaEval, or its scores as a table.

    zephyrctl eval export @last --format fastchat --to ./llm_judge
    """
    from zephyrctl.config.layers import load
    from zephyrctl.evaluation.exchange.outgoing import export as write_out
    from zephyrctl.runs.store import find_run

    run = find_run(ref, output_root=Path(load().recipe.output_root).expanduser())
    found = write_out(run, target, form=form, benchmark=benchmark)
    for text in found.notices:
        terminal.say(f"! {text}")
    if json:
        terminal.emit_json({"folder": str(found.folder), "files": list(found.files)})
        return
    for name in found.files:
        terminal.out(str(found.folder / name))
