"""Where each setting comes from: defaults, recipe, file, environment, command line, merged.

Weakest first: the schema's defaults, what `extends` names, the file (`--config`, else
`./zephyr.yaml`), `ZEPHYRCTL_SFT__LEARNING_RATE`, `--set sft.learning_rate=1e-5`, and the flags
of a command. Mappings merge, lists replace, null is a value; `{}` for a setting that is a mapping
(`expected`, `trainer_args`) takes away what weaker layers put there. Everything is validated
once, at the end, and every problem is reported at once with the place that caused it.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from zephyrctl.config import messages, paths
from zephyrctl.config.fields import accepts_kind, accepts_text, field_at, settings
from zephyrctl.config.files import FileLayer, label_of, read_chain
from zephyrctl.config.recipes import find
from zephyrctl.config.schema import Recipe
from zephyrctl.config.yaml import KeyPath, read_value
from zephyrctl.errors import ConfigError, Problem, ZephyrctlError
from zephyrctl.registry import did_you_mean, nearest

DEFAULT_FILE = "zephyr.yaml"
ENV_PREFIX = "ZEPHYRCTL_"

# Names of the environment that are ours and are no settings.
OTHER_ENV = {
    "ZEPHYRCTL_CACHE": "folder of converted models and downloaded files",
    "ZEPHYRCTL_GITHUB_URL": "mirror of raw.githubusercontent.com",
    "ZEPHYRCTL_OFFLINE": "1 forbids every use of the network",
    "ZEPHYRCTL_DEBUG": "1 shows the traceback of an error",
    "ZEPHYRCTL_PROGRESS": "live, plain, json or none, as --progress",
    "ZEPHYRCTL_TRUST_REMOTE_CODE": "OWNER/NAME@COMMIT whose code may be run",
}
# Set by the launcher for its workers, and by tests.
_INTERNAL_ENV = {
    "ZEPHYRCTL_FAULT",
    "ZEPHYRCTL_FAULT_ONCE",
    "ZEPHYRCTL_LAUNCH",
    "ZEPHYRCTL_SUPERVISOR_PID",
}
_TEST_ENV = "ZEPHYRCTL_TEST_"

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*")

# What changes where a run is kept or shown, and not what comes out of it.
_NOT_IN_HASH = {"extends", "name", "output_root", "chat", "launch", "track"}


@dataclass(frozen=True)
class Origin:
    """Where a value was given; `label` is what people see: `zephyr.yaml:34:3`, `--set`."""

    kind: Literal["default", "recipe", "file", "env", "set", "flag"]
    label: str


@dataclass(frozen=True)
class Loaded:
    """A validated recipe, and the origin of each setting by its dotted path.

    `source` says which files were read: "zephyr.yaml ← recipe tiny".
    """

    recipe: Recipe
    origins: dict[str, Origin]
    source: str


@dataclass(frozen=True)
class _Given:
    """One value from the environment or the command line."""

    path: tuple[str, ...]
    value: Any
    origin: Origin
    where: str


@dataclass
class _Merged:
    """What all layers say together; `origins` has every node, `where` its place in messages."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[KeyPath, Origin] = field(default_factory=dict)
    where: dict[KeyPath, str] = field(default_factory=dict)


_DEFAULT = Origin("default", "default")
_BASE: KeyPath = ("model", "base")
_REVISION: KeyPath = ("model", "revision")


def load(
    *,
    config: Path | None = None,
    recipe: str | None = None,
    sets: Sequence[str] = (),
    flags: Mapping[str, object] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Loaded:
    """The recipe that all layers make together; ConfigError with all problems.

    `sets` are KEY=VALUE texts, `flags` dotted paths with the value given on the command line
    (None where it was not). `env` and `cwd` are the process's own unless given.
    """
    folder = Path.cwd() if cwd is None else cwd
    problems: list[Problem] = []
    files = _read_files(config, recipe, folder, problems)
    given = _from_env(os.environ if env is None else env, problems)
    given += _from_sets(sets, problems)
    given += _from_flags(flags or {})
    if files is None or any(layer.broken for layer in files):
        raise ConfigError.of(problems)  # what is missing would only bring false findings

    merged = _Merged()
    for layer in files:
        _overlay_file(merged, layer)
    for item in given:
        _overlay_value(merged, item, folder, problems)
    result, found = messages.validate(merged.values, place=_place_finder(merged))
    problems += found
    if problems or result is None:
        raise ConfigError.of(problems)
    return Loaded(result, _leaf_origins(merged, result), _describe_source(files))


def config_hash(recipe: Recipe) -> str:
    """SHA-256 over the settings that decide what comes out; equal for equal work."""
    content = recipe.model_dump(mode="json", exclude=_NOT_IN_HASH)
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _read_files(
    config: Path | None, recipe: str | None, cwd: Path, problems: list[Problem]
) -> list[FileLayer] | None:
    if config is not None and recipe is not None:
        problems.append(
            Problem(
                "--config and --recipe both name a configuration; give one of them",
                where="--recipe",
                hint=f"to change a recipe, write `extends: {recipe}` in a file",
            )
        )
        return None
    if recipe is not None:
        try:
            path = find(recipe)
        except ZephyrctlError as error:
            hint = f"-c {recipe}" if (cwd / recipe).is_file() else error.hint
            problems.append(Problem(error.message, where="--recipe", hint=hint))
            return None
        return read_chain(path, label=f"recipe {recipe}", kind="recipe", cwd=cwd, problems=problems)
    if config is None:
        default = cwd / DEFAULT_FILE
        if not default.exists():
            return []
        config = default
    path = cwd / paths.expand_home(config)
    return read_chain(path, label=label_of(path, cwd), kind="file", cwd=cwd, problems=problems)


def _from_env(env: Mapping[str, str], problems: list[Problem]) -> list[_Given]:
    given: list[_Given] = []
    known = {_env_name(path): path for path in settings() if path != "extends"}
    for name in sorted(name for name in env if name.startswith(ENV_PREFIX)):
        ours = name in OTHER_ENV or name in _INTERNAL_ENV or name.startswith(_TEST_ENV)
        if ours or env[name] == "":
            continue
        path = tuple(name.removeprefix(ENV_PREFIX).lower().split("__"))
        if name not in known and not _inside_mapping(path):
            guess = nearest(name, [*known, *OTHER_ENV])
            problems.append(
                Problem(
                    f"unknown environment variable {name}{did_you_mean(name, [guess or ''])}",
                    where=name,
                    hint=f"unset {name}",
                )
            )
            continue
        _parse(path, env[name], Origin("env", name), name, given, problems)
    return given


def _from_sets(sets: Sequence[str], problems: list[Problem]) -> list[_Given]:
    given: list[_Given] = []
    for text in sets:
        key, equals, raw = text.partition("=")
        key = key.strip()
        where = f"--set {key}"
        if not equals or not _KEY.fullmatch(key):
            problems.append(
                Problem(
                    "--set takes KEY=VALUE, such as sft.learning_rate=1e-5",
                    where=f"--set {key[:60]}",
                    hint="zephyrctl config explain sft",
                )
            )
        elif raw.strip() == "":
            problems.append(Problem(f"no value for {key}", where=where, hint=f"--set {key}=null"))
        elif key == "extends":
            problems.append(
                Problem("'extends' is read from a file only", where=where, hint="--recipe NAME")
            )
        elif any(part.isdigit() for part in key.split(".")):
            whole = re.split(r"\.\d", key)[0]
            problems.append(
                Problem(
                    "an item of a list cannot be set alone; give the whole list",
                    where=where,
                    hint=f"--set '{whole}=[…]'",
                )
            )
        else:
            _parse(tuple(key.split(".")), raw, Origin("set", "--set"), where, given, problems)
    return given


def _from_flags(flags: Mapping[str, object]) -> list[_Given]:
    given: list[_Given] = []
    for dotted, value in flags.items():
        if value is None:
            continue
        plain = str(value) if isinstance(value, Path) else value
        plain = list(plain) if isinstance(plain, tuple) else plain
        label = "--" + dotted.rpartition(".")[2].replace("_", "-")
        given.append(_Given(tuple(dotted.split(".")), plain, Origin("flag", label), label))
    return given


def _parse(
    path: tuple[str, ...],
    raw: str,
    origin: Origin,
    where: str,
    given: list[_Given],
    problems: list[Problem],
) -> None:
    found = field_at(path, {})
    try:
        value = read_value(raw)
    except ValueError as error:
        if found is not None and accepts_text(found.annotation):
            value = raw  # `--set name=007` means text: the field takes nothing else
        else:
            problems.append(Problem(f"the value cannot be read: {error}", where=where))
            return
    if (
        found is not None
        and isinstance(value, int | float)
        and accepts_text(found.annotation)
        and not accepts_kind(found.annotation, type(value))
    ):
        value = raw.strip()
    given.append(_Given(path, value, origin, where))


def _env_name(path: str) -> str:
    return ENV_PREFIX + path.replace(".", "__").upper()


def _inside_mapping(path: tuple[str, ...]) -> bool:
    return any(
        ".".join(path[:end]) in settings()
        and settings()[".".join(path[:end])].accepts.startswith("a mapping")
        for end in range(1, len(path))
    )


def _overlay_file(merged: _Merged, layer: FileLayer) -> None:
    values = paths.anchor(layer.values, folder=layer.path.parent)

    def place(path: KeyPath) -> str:
        while path and path not in layer.places:
            path = path[:-1]
        return layer.places.get(path, layer.label)

    def record(path: KeyPath) -> None:
        merged.where[path] = place(path)
        merged.origins[path] = Origin(layer.kind, merged.where[path])

    _merge(merged, merged.values, values, (), record)


def _overlay_value(merged: _Merged, item: _Given, cwd: Path, problems: list[Problem]) -> None:
    parent: Any = merged.values
    for depth, part in enumerate(item.path[:-1]):
        parent = parent.get(part, {})
        if not isinstance(parent, dict):
            above = ".".join(item.path[: depth + 1])
            problems.append(Problem(f"{above} has no keys below it", where=item.where))
            return
    values: dict[str, Any] = {item.path[-1]: item.value}
    for part in reversed(item.path[:-1]):
        values = {part: values}

    def record(path: KeyPath) -> None:
        if path[: len(item.path)] == item.path or path not in merged.where:
            merged.where[path] = item.where
            merged.origins[path] = item.origin

    _merge(merged, merged.values, paths.anchor(values, folder=cwd), (), record)


def _merge(
    merged: _Merged,
    target: dict[str, Any],
    source: dict[str, Any],
    path: KeyPath,
    record: Any,
) -> None:
    for key, value in source.items():
        here = (*path, key)
        if here == _BASE and target.get(key) not in (None, value):
            _forget_revision(merged, target, source)
        clears = value == {} and ".".join(map(str, here)) in settings()
        if isinstance(value, dict) and isinstance(target.get(key), dict) and not clears:
            record(here)
            _merge(merged, target[key], value, here, record)
            continue
        for old in [known for known in merged.where if known[: len(here)] == here]:
            del merged.where[old], merged.origins[old]
        target[key] = value
        _record_tree(value, here, record)


def _forget_revision(merged: _Merged, model: dict[str, Any], source: dict[str, Any]) -> None:
    """A revision belongs to its base model: that of a file does not outlive another base."""
    origin = merged.origins.get(_REVISION)
    if "revision" in source or origin is None or origin.kind not in ("recipe", "file"):
        return
    del model["revision"], merged.where[_REVISION], merged.origins[_REVISION]


def _record_tree(value: Any, path: KeyPath, record: Any) -> None:
    record(path)
    children = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, item in children:
        _record_tree(item, (*path, key), record)


def _place_finder(merged: _Merged) -> messages.PlaceFinder:
    def find_place(path: KeyPath) -> messages.Place | None:
        while path:
            if path in merged.where:
                origin = merged.origins[path]
                file = origin.label.rsplit(":", 2)[0] if origin.kind == "file" else None
                return messages.Place(merged.where[path], file)
            path = path[:-1]
        return None

    return find_place


def _leaf_origins(merged: _Merged, recipe: Recipe) -> dict[str, Origin]:
    origins: dict[str, Origin] = {}
    for dotted in settings():
        path = tuple(dotted.split("."))
        origins[dotted] = merged.origins.get(path, _DEFAULT)
        value: Any = recipe
        for part in path:
            value = getattr(value, part)
        if isinstance(value, dict):
            for key in value:
                origins[f"{dotted}.{key}"] = merged.origins.get((*path, key), origins[dotted])
    return origins


def _describe_source(files: list[FileLayer]) -> str:
    if not files:
        return "defaults"
    labels = list(dict.fromkeys(layer.label for layer in reversed(files)))
    return " ← ".join(labels)
