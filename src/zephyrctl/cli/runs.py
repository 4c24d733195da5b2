"""`zephyrctl runs`: what was done, where it lies, how it compares."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from zephyrctl import terminal
from zephyrctl.cli.options import APP, JsonOption, ProgressOption, YesOption

app = typer.Typer(help="List, show, watch, compare and remove runs.", **APP)

RefArgument = Annotated[
    str, typer.Argument(metavar="REF", help="A run: @last, @sft, @dpo, its name or its path.")
]
RootOption = Annotated[
    Path | None,
    typer.Option("--output-root", metavar="FOLDER", help="Folder of the runs [the config's]."),
]
StageOption = Annotated[
    Literal["data", "sft", "dpo", "eval"] | None, typer.Option(help="Stage [the last one].")
]


@app.command("list")
def list_runs(output_root: RootOption = None, json: JsonOption = False) -> None:
    """List the runs, the one touched last first."""
    from zephyrctl.cli import runs_views

    root = runs_views.root_of(output_root)
    if json:
        terminal.emit_json({"output_root": str(root), "runs": runs_views.run_rows(root)})
        return
    for line in runs_views.run_lines(root):
        terminal.out(line)


@app.command()
def show(
    ref: RefArgument,
    samples: Annotated[
        bool, typer.Option("--samples", help="Show the sample answers too.")
    ] = False,
    output_root: RootOption = None,
    json: JsonOption = False,
) -> None:
    """Show a run's stages, scores and comparisons."""
    from zephyrctl.cli import runs_views
    from zephyrctl.runs.summary import summarize

    run = runs_views.find(ref, output_root)
    if json:
        extra = {"samples": runs_views.sample_rows(run)} if samples else {}
        terminal.emit_json({**summarize(run), **extra})
        return
    for line in runs_views.show_lines(run, samples=samples):
        terminal.out(line)


@app.command()
def path(ref: RefArgument, output_root: RootOption = None, json: JsonOption = False) -> None:
    """Print a run's folder."""
    from zephyrctl.cli import runs_views

    run = runs_views.find(ref, output_root)
    if json:
        terminal.emit_json({"run": run.name, "path": str(run.root)})
    else:
        terminal.out(str(run.root))


@app.command()
def logs(
    ref: RefArgument,
    stage: StageOption = None,
    rank: Annotated[int | None, typer.Option(min=0, help="Rank [all].")] = None,
    lines: Annotated[
        int | None, typer.Option("--lines", "-n", min=1, help="Only the last so many lines.")
    ] = None,
    output_root: RootOption = None,
) -> None:
    """Print what the processes of a stage printed."""
    from zephyrctl.cli import runs_views

    run = runs_views.find(ref, output_root)
    for line in runs_views.log_lines(run, stage=stage, rank=rank, last=lines):
        terminal.out(line)


@app.command()
def rm(
    refs: Annotated[list[str], typer.Argument(metavar="REF...", help="Runs, by name or path.")],
    output_root: RootOption = None,
    json: JsonOption = False,
    yes: YesOption = False,
) -> None:
    """Remove runs with everything in them; refused while one is in use."""
    from zephyrctl.cli import runs_views

    found = [runs_views.find(ref, output_root) for ref in refs]
    removed = runs_views.remove(found, ask=not yes)
    if json:
        terminal.emit_json({"removed": [str(run.root) for run in removed]})


@app.command()
def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="A run.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The run compared with it.")],
    output_root: RootOption = None,
    json: JsonOption = False,
) -> None:
    """Compare two runs: settings, final metrics, scores."""
    from zephyrctl.cli import runs_views

    first, second = runs_views.find(a, output_root), runs_views.find(b, output_root)
    compared = runs_views.comparison(first, second)
    if json:
        terminal.emit_json(compared)
        return
    for line in runs_views.comparison_lines(compared):
        terminal.out(line)


@app.command()
def watch(
    ref: RefArgument,
    stage: StageOption = None,
    progress: ProgressOption = None,
    output_root: RootOption = None,
) -> None:
    """Watch a run that another process works on; Ctrl-C leaves it alone."""
    from zephyrctl.cli import runs_views

    runs_views.watch(runs_views.find(ref, output_root), stage=stage, progress=progress)
