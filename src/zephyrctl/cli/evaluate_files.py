"""`zephyrctl eval fetch`: the benchmarks' public files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zephyrctl import terminal
from zephyrctl.cli.options import JsonOption
from zephyrctl.errors import UsageError

if TYPE_CHECKING:
    from zephyrctl.evaluation.files.bring import Brought


def register(app: typer.Typer) -> None:
    """Add the commands of this module to `zephyrctl eval`."""
    app.command("fetch")(fetch)


def fetch(
    benchmark: Annotated[
        str, typer.Argument(metavar="[BENCHMARK]", help="mt-bench, alpaca-eval or all.")
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

    On a machine with a network: zephyrctl eval fetch --to ./eval-files; on one without:
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
