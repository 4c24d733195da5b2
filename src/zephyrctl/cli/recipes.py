"""`zephyrctl recipes`: what is packaged."""

from typing import Annotated

import typer

from zephyrctl import terminal
from zephyrctl.cli.options import APP, JsonOption

app = typer.Typer(help="List and show the packaged recipes.", **APP)


@app.command("list")
def list_recipes(json: JsonOption = False) -> None:
    """List the packaged recipes."""
    from zephyrctl.config.recipes import packaged

    found = packaged()
    if json:
        rows = [{"name": item.name, "summary": item.summary} for item in found]
        terminal.emit_json({"recipes": rows})
        return
    width = max((len(item.name) for item in found), default=0)
    for item in found:
        terminal.out(f"{item.name:<{width}}  {item.summary}")


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A packaged recipe.")],
    json: JsonOption = False,
) -> None:
    """Print the file of a packaged recipe."""
    from zephyrctl.config.recipes import find

    text = find(name).read_text(encoding="utf-8")
    if json:
        terminal.emit_json({"name": name, "text": text})
    else:
        terminal.out(text, end="")
