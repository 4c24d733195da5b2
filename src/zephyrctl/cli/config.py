"""`zephyrctl config`: check, show, explain and convert configurations."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from zephyrctl import terminal
from zephyrctl.cli.files import refuse_existing, write_text
from zephyrctl.cli.options import (
    APP,
    ConfigOption,
    JsonOption,
    RecipeOption,
    SetOption,
    load_from,
)

app = typer.Typer(help="Check, show, explain and convert configurations.", **APP)


@app.command()
def check(
    config: ConfigOption = None,
    recipe: RecipeOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Read and validate a configuration; all problems are shown at once."""
    from zephyrctl.config.layers import config_hash

    loaded = load_from(config, recipe, sets)
    if json:
        digest = config_hash(loaded.recipe)
        terminal.emit_json({"ok": True, "source": loaded.source, "hash": digest})
    else:
        terminal.out(f"ok: run '{loaded.recipe.name}' from {loaded.source}")


@app.command()
def show(
    config: ConfigOption = None,
    recipe: RecipeOption = None,
    sets: SetOption = None,
    origin: Annotated[
        bool, typer.Option("--origin", help="Say beside each setting where it was given.")
    ] = False,
    changed: Annotated[bool, typer.Option("--changed", help="Leave defaults out.")] = False,
    json: JsonOption = False,
) -> None:
    """Print the configuration with everything filled in."""
    from zephyrctl.config.explain import to_yaml

    loaded = load_from(config, recipe, sets)
    if json:
        origins = {path: item.label for path, item in loaded.origins.items()}
        values = loaded.recipe.model_dump(mode="json")
        terminal.emit_json({"config": values, "origins": origins, "source": loaded.source})
    else:
        terminal.out(to_yaml(loaded, origins=origin, changed_only=changed), end="")


@app.command()
def explain(
    key: Annotated[
        str, typer.Argument(metavar="[KEY]", help="A section or setting, such as dpo.beta.")
    ] = "",
) -> None:
    """Say what a setting means, what it accepts and its default."""
    from zephyrctl.config.explain import explain as text_of

    terminal.out(text_of(key), end="")


@app.command()
def schema(
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it there.")] = None,
) -> None:
    """Print the JSON Schema of a configuration, for editors."""
    from zephyrctl.config.starter import schema_text

    if out is None:
        terminal.out(schema_text(), end="")
    else:
        write_text(out, schema_text())
        terminal.say(f"wrote {out}")


@app.command()
def convert(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The other tool's YAML.")],
    more: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE]...", help="Another stage of the same run."),
    ] = None,
    stage: Annotated[
        Literal["sft", "dpo"] | None, typer.Option(help="What the file trains [by its keys].")
    ] = None,
    gpus: Annotated[
        int | None, typer.Option(min=1, help="GPUs the files were written for [1].")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it there.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Turn alignment-handbook and TRL files into one of ours."""
    from zephyrctl.config.convert import convert_files

    if out is not None:
        refuse_existing(out, force=force)
    converted = convert_files([file, *(more or [])], stage=stage, gpus=gpus)
    for note in converted.notes:
        terminal.say(note)
    if out is None:
        terminal.out(converted.text, end="")
    else:
        write_text(out, converted.text)
        terminal.say(f"wrote {out}; next: zephyrctl config check -c {out}")
