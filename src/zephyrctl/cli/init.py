"""`zephyrctl init`: start a configuration from a packaged recipe."""

from pathlib import Path
from typing import Annotated

import typer

from zephyrctl import terminal
from zephyrctl.cli.files import refuse_existing, write_text


def init(
    recipe: Annotated[str, typer.Option(metavar="NAME", help="Packaged recipe to build on.")],
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the run [the recipe's].")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
) -> None:
    """Write zephyr.yaml, which extends a recipe, and its schema beside it."""
    from zephyrctl.config.starter import starter_files

    files = starter_files(recipe=recipe, name=name)
    for file in files:
        refuse_existing(Path(file), force=force, hint=f"zephyrctl init --recipe {recipe} --force")
    for file, text in files.items():
        write_text(Path(file), text)
        terminal.say(f"wrote {file}")
    terminal.say("next: zephyrctl config check, then zephyrctl plan")
