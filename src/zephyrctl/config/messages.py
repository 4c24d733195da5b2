"""What is wrong with merged settings, in plain words and with the place of each.

pydantic finds the violations; the sentences are written here from the schema, so that a message
says what a field accepts and never quotes a validator.
"""

import json
import re
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from zephyrctl.config.checks import check
from zephyrctl.config.fields import (
    SchemaField,
    accepts_text,
    all_fields,
    choices,
    field_at,
    model_at,
    settings,
    shown_path,
)
from zephyrctl.config.renamed import new_name
from zephyrctl.config.schema import Recipe
from zephyrctl.config.yaml import KeyPath
from zephyrctl.errors import Problem, quoted
from zephyrctl.registry import did_you_mean, nearest

_SECRET_NAME = re.compile(r"(?i)token|secret|passw|credential|(^|_)key$")
_SECRET_VALUE = re.compile(r"\b(sk-|hf_|ghp_|AKIA)[A-Za-z0-9_-]{6,}|://[^/@\s]*:[^/@\s]*@")
_LONGEST_SHOWN = 60


@dataclass(frozen=True)
class Place:
    """Where a value was given; `file` is the file's name where it was one."""

    where: str
    file: str | None


PlaceFinder = Callable[[KeyPath], Place | None]


def validate(values: dict[str, Any], *, place: PlaceFinder) -> tuple[Recipe | None, list[Problem]]:
    """The recipe that `values` make, and every problem; the recipe is None where one is wrong.

    The relations between fields are checked too where all the fields they read are right.
    """
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        details: list[Any] = list(error.errors(include_url=False, include_input=False))
        wrong = list(dict.fromkeys(_data_path(item["loc"], values) for item in details))
        problems = [_explain(path, _first(details, path, values), values, place) for path in wrong]
        partial = _without(values, wrong)
        related = [] if partial is None else _relations(partial, place, wrong=wrong)
        return None, problems + related
    problems = _relations(recipe, place, wrong=[])
    return (None if problems else recipe), problems


def shown(value: Any, path: KeyPath = ()) -> str:
    """A value as it may stand in a message: short, and never a secret."""
    if path and isinstance(path[-1], str) and _SECRET_NAME.search(path[-1]):
        return "the value given (not shown)"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "null"
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    if _SECRET_VALUE.search(text):
        return "the value given (not shown)"
    short = text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"
    return f"'{short}'" if isinstance(value, str) else short


def _relations(recipe: Recipe, place: PlaceFinder, *, wrong: list[KeyPath]) -> list[Problem]:
    bad = {".".join(map(str, path)) for path in wrong}
    problems: list[Problem] = []
    for finding in check(recipe):
        if any(_touches(path, name) for path in finding.paths for name in bad):
            continue
        places = [place(_split(path)) for path in finding.paths]
        spot = next((found for found in places if found is not None), None)
        problems.append(Problem(finding.message, spot.where if spot else None, finding.hint))
    return problems


def _touches(path: str, name: str) -> bool:
    return path == name or path.startswith(f"{name}.") or name.startswith(f"{path}.")


def _split(dotted: str) -> KeyPath:
    return tuple(int(part) if part.isdigit() else part for part in dotted.split("."))


def _data_path(loc: Sequence[str | int], values: Any) -> KeyPath:
    """The part of pydantic's location that is in the data; the rest names members of unions."""
    path: list[str | int] = []
    value = values
    for part in loc:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            break
        path.append(part)
    return tuple(path)


def _first(details: list[Any], path: KeyPath, values: Any) -> Any:
    return next(item for item in details if _data_path(item["loc"], values) == path)


def _explain(path: KeyPath, detail: Any, values: Any, place: PlaceFinder) -> Problem:
    spot = place(path)
    where = spot.where if spot else None
    if detail["type"] == "extra_forbidden":
        return _unknown_key(path, values, spot)
    if detail["type"] == "missing":
        name = detail["loc"][-1]
        return Problem(f"{shown_path(path) or 'the file'} lacks '{name}'", where)
    value: Any = values
    for part in path:
        value = value[part]
    if detail["type"] in ("value_error", "assertion_error"):
        message = str(detail["msg"]).removeprefix("Value error, ")
        return Problem(f"{shown_path(path)}: {message}", where)
    found = field_at(path, values)
    dotted = ".".join(part for part in path if isinstance(part, str))
    explain = f"zephyrctl config explain {dotted}" if dotted in all_fields() else None
    if found is None:
        return Problem(f"{shown_path(path)} cannot be {shown(value, path)}", where, explain)
    message, hint = _mismatch(found, value, path)
    return Problem(message, where, hint or explain)


def _mismatch(found: SchemaField, value: Any, path: KeyPath) -> tuple[str, str | None]:
    message = f"{shown_path(path)} must be {found.accepts}, not {shown(value, path)}"
    options = choices(found.annotation)
    if isinstance(value, str):
        if options and (guess := nearest(value, options)):
            return f"{message}; did you mean '{guess}'?", None
        if "true or false" in found.accepts and value.lower() in ("yes", "on", "no", "off"):
            return message, f"write {'true' if value.lower() in ('yes', 'on') else 'false'}"
        if "number" in found.accepts and re.fullmatch(r"[-+.\deE_ ]+", value):
            return message, "write it without quotes and underscores"
        if found.accepts.startswith("a list"):
            return message, f"write [{value}]" if value.isprintable() else None
    if isinstance(value, int | float) and accepts_text(found.annotation):
        return message, "put quotes around it"
    return message, None


def _unknown_key(path: KeyPath, values: Any, spot: Place | None) -> Problem:
    *parents, key = path
    name, section = str(key), shown_path(parents)
    where = spot.where if spot else None
    model = model_at(parents, values)
    known = list(model.model_fields) if model is not None else []
    ours = new_name(name, section=section)
    if ours is not None:
        file = spot.file if spot is not None and spot.file else "FILE"
        return Problem(
            f"unknown key '{shown_path(path)}'; here it is called {ours}",
            where,
            f"zephyrctl config convert {quoted(file)}",
        )
    inside = f"section '{section}'" if section else "the configuration"
    message = f"unknown key '{name}' in {inside}"
    if nearest(name, known):
        message += did_you_mean(name, known)
    else:
        homes = [other for other in all_fields() if other.rpartition(".")[2] == name]
        if homes:
            message += f"; did you mean '{homes[0]}'?"
        elif not section:
            message += did_you_mean(name, list(settings()))
    target = f" {section}" if section in all_fields() else ""
    hint = f"zephyrctl config explain{target}"
    return Problem(message, where, hint)


def _without(values: dict[str, Any], wrong: list[KeyPath]) -> Recipe | None:
    """The recipe without the wrong values, so that the relations of the others can be checked."""
    partial = deepcopy(values)
    for path in wrong:
        cut = next((i for i, part in enumerate(path) if isinstance(part, int)), len(path))
        parent: Any = partial
        for part in path[: cut - 1]:
            parent = parent.get(part, {}) if isinstance(parent, dict) else {}
        if cut and isinstance(parent, dict):
            parent.pop(path[cut - 1], None)
    try:
        return Recipe.model_validate(partial)
    except ValidationError:
        return None
