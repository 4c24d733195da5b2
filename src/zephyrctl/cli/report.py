"""`zephyrctl report`: a run on one page."""

from typing import Annotated

import typer

from zephyrctl import terminal
from zephyrctl.cli.options import JsonOption
from zephyrctl.cli.runs import RootOption


def report(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN", help="Runs: @last, names, or paths [@last]."),
    ] = None,
    output_root: RootOption = None,
    open_page: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    json: JsonOption = False,
) -> None:
    """Write RUN/report.html: data account, curves, samples, scores, configuration.

    One file that loads nothing and runs no script, fit to be sent to somebody.
    """
    from zephyrctl.cli.runs_views import find
    from zephyrctl.reports.html import write_report

    found = [find(ref, output_root) for ref in runs or ["@last"]]
    pages = [(run, write_report(run)) for run in found]
    if json:
        terminal.emit_json({"reports": [{"run": r.name, "path": str(p)} for r, p in pages]})
    else:
        for _, page in pages:
            terminal.out(str(page))
    if open_page:
        terminal.open_page(pages[-1][1])
