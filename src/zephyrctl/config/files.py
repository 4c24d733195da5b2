"""Which files a configuration is made of: one file and everything its `extends` leads to."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from zephyrctl.config.paths import expand_home, is_local
from zephyrctl.config.recipes import find
from zephyrctl.config.yaml import KeyPath, read_file
from zephyrctl.errors import ConfigError, Problem, UsageError

_SUFFIXES = (".yaml", ".yml", ".toml")
_MAX_FILES = 64


@dataclass(frozen=True)
class FileLayer:
    """One file without its `extends`; `broken` where it could not be read."""

    path: Path
    label: str
    kind: Literal["recipe", "file"]
    values: dict[str, Any]
    places: dict[KeyPath, str] = field(default_factory=dict)
    broken: bool = False


def label_of(path: Path, cwd: Path) -> str:
    """A file's name in messages: relative where it is below the working directory."""
    try:
        return str(path.relative_to(cwd))
    except ValueError:
        return str(path)


def read_chain(
    path: Path,
    *,
    label: str,
    kind: Literal["recipe", "file"],
    cwd: Path,
    problems: list[Problem],
) -> list[FileLayer]:
    """The layers of a file, weakest first; problems are added to `problems`.

    Of several entries in `extends` the later one wins over the earlier.
    """
    chain = _Chain(cwd, problems)
    chain.add(path, label=label, kind=kind)
    return chain.layers


class _Chain:
    def __init__(self, cwd: Path, problems: list[Problem]) -> None:
        self._cwd = cwd
        self._problems = problems
        self._open: list[tuple[Path, str]] = []
        self.layers: list[FileLayer] = []

    def add(self, path: Path, *, label: str, kind: Literal["recipe", "file"]) -> None:
        try:
            document = read_file(path, label=label)
        except ConfigError as error:
            self._problems.extend(error.problems)
            self.layers.append(FileLayer(path, label, kind, {}, broken=True))
            return
        values = dict(document.values)
        places = document.places
        extends = values.pop("extends", None)
        self._open.append((path.resolve(), label))
        for index, parent in enumerate(self._parents(extends, places, label)):
            where = places.get(("extends", index)) or places.get(("extends",)) or label
            self._extend(parent, base=path.parent, where=where)
        self._open.pop()
        self.layers.append(FileLayer(path, label, kind, values, places))

    def _parents(self, extends: Any, places: dict[KeyPath, str], label: str) -> list[str]:
        if extends is None:
            return []
        parents = extends if isinstance(extends, list) else [extends]
        if all(isinstance(parent, str) and parent for parent in parents):
            return parents
        self._problems.append(
            Problem(
                "extends must be the name of a packaged recipe, a file, or a list of these",
                where=places.get(("extends",), label),
                hint="zephyrctl recipes list",
            )
        )
        return []

    def _extend(self, parent: str, *, base: Path, where: str) -> None:
        if is_local(parent, suffixes=_SUFFIXES):
            path = base / expand_home(parent)
            label, kind = label_of(path, self._cwd), "file"
            if not path.is_file():
                self._fail(f"'extends' names {parent}, and there is no such file", where)
                return
        else:
            try:
                path = find(parent)
            except UsageError as error:
                self._fail(error.message, where, hint=error.hint)
                return
            label, kind = f"recipe {parent}", "recipe"
        labels = [opened for resolved, opened in self._open if resolved == path.resolve()]
        if labels:
            names = [opened for _, opened in self._open]
            circle = " → ".join([*names[names.index(labels[0]) :], label])
            self._fail(f"'extends' runs in a circle: {circle}", where)
            return
        if len(self.layers) + len(self._open) >= _MAX_FILES:
            self._fail(f"'extends' leads to more than {_MAX_FILES} files", where)
            return
        self.add(path, label=label, kind=kind)

    def _fail(self, message: str, where: str, *, hint: str | None = None) -> None:
        self._problems.append(Problem(message, where, hint))
