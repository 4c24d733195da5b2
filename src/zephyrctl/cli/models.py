"""`zephyrctl models`: the named base models, and fetching a base model ahead of a run."""

from typing import Annotated

import typer

from zephyrctl import terminal
from zephyrctl.cli.options import APP, JsonOption

app = typer.Typer(help="List the named base models, and fetch a base model.", **APP)


@app.command("list")
def list_models(json: JsonOption = False) -> None:
    """List the base models that have a name of their own."""
    from zephyrctl.catalogue import BASE_MODELS
    from zephyrctl.models.resolve import on_disk

    rows = [(entry, on_disk(entry.name)) for entry in BASE_MODELS.entries()]
    if json:
        found = [
            {"name": e.name, "summary": e.summary, "path": str(path) if path else None}
            for e, path in rows
        ]
        terminal.emit_json({"models": found})
        return
    for entry, path in rows:
        place = "here" if path else "not here yet"
        terminal.out(f"{entry.name:<24}{place:<14}{entry.summary}")


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Named base model or Hub id.")],
    revision: Annotated[
        str | None, typer.Option(metavar="REV", help="Commit, tag or branch of a Hub id.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Fetch a base model, so that later commands need no network."""
    from zephyrctl.models.resolve import locate

    found = locate(name, revision=revision)
    terminal.say(found.note)
    if json:
        terminal.emit_json(
            {
                "name": found.name,
                "path": str(found.path),
                "source": found.source,
                "revision": found.revision,
                "digest": found.digest,
                "note": found.note,
            }
        )
    else:
        terminal.out(str(found.path))
