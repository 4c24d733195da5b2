"""What `init` writes: a short file that extends a recipe, and the schema editors check it with."""

import json
from pathlib import Path

from zephyrctl.config.explain import inline, schema
from zephyrctl.config.layers import DEFAULT_FILE, load

SCHEMA_FILE = "zephyr.schema.json"

_STARTER = """\
# yaml-language-server: $schema=./{schema}
# What stands here wins over the recipe. `zephyrctl config show --origin` prints everything,
# `zephyrctl config explain KEY` says what a setting means.
extends: {recipe}
name: {name}
"""


def schema_text() -> str:
    """The JSON Schema as it stands in a file."""
    return json.dumps(schema(), indent=2) + "\n"


def starter_files(*, recipe: str, name: str | None) -> dict[str, str]:
    """File names and contents; ConfigError where the recipe or the name is wrong.

    The run is called `name`, or as in the recipe.
    """
    sets = [] if name is None else [f"name={json.dumps(name)}"]
    loaded = load(recipe=recipe, sets=sets, env={}, cwd=Path("/"))
    text = _STARTER.format(schema=SCHEMA_FILE, recipe=recipe, name=inline(loaded.recipe.name))
    return {DEFAULT_FILE: text, SCHEMA_FILE: schema_text()}
