"""Read one YAML or TOML file strictly, and know the place of every key.

YAML here is the 1.2 core schema without its traps: only `true` and `false` are booleans, `2e-5`
is a number, a key stands once, and anchors, tags and a second document are refused. The place of
a key is its line and column, counted from 1.
"""

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from zephyrctl.errors import ConfigError, Problem

KeyPath = tuple[str | int, ...]

MAX_BYTES = 1_000_000
MAX_DEPTH = 64
_MAX_DIGITS = 40

_NULL = {"", "~", "null", "Null", "NULL"}
_TRUE = {"true", "True", "TRUE"}
_FALSE = {"false", "False", "FALSE"}
_INT = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")

# libyaml is ten times as fast; the pure reader gives the same events.
_READER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Document:
    """The content of one file and where each key stands.

    `places` has a key for every mapping entry and list item: ("sft", "filters", 0).
    """

    values: dict[str, Any]
    places: dict[KeyPath, str] = field(default_factory=dict)


class _BadScalar(ValueError):
    """A plain scalar that reads differently in YAML 1.1 and 1.2."""


def plain_scalar(text: str) -> Any:
    """The value of an unquoted scalar; ValueError where it has no single meaning."""
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _LEADING_ZERO.fullmatch(text):
        raise _BadScalar(f"'{text}' has a leading zero; write '{text.lstrip('+-0') or '0'}'")
    if _INT.fullmatch(text):
        if len(text) > _MAX_DIGITS:
            raise _BadScalar(f"a number of {len(text)} digits; at most {_MAX_DIGITS} are read")
        return int(text)
    if _BASED.fullmatch(text):
        if len(text) > _MAX_DIGITS:
            raise _BadScalar(f"a number of {len(text)} digits; at most {_MAX_DIGITS} are read")
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _SPECIAL.fullmatch(text):
        return float(text.replace(".", "", 1))
    return text


def read_file(path: Path, *, label: str) -> Document:
    """The content of a `.toml`, `.yaml` or `.yml` file; ConfigError with every problem in it.

    `label` is the file's name in messages.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ConfigError(
                f"the file has {size:,} bytes; a configuration has at most {MAX_BYTES:,}",
                where=label,
            )
        data = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError("no such file", where=label) from None
    except IsADirectoryError:
        raise ConfigError("this is a folder, not a file", where=label) from None
    except OSError as error:
        raise ConfigError(f"cannot read the file: {error.strerror}", where=label) from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"not UTF-8 text (byte {error.start})", where=label) from None
    if path.suffix.lower() == ".toml":
        return _read_toml(text, label=label)
    return read_yaml(text, label=label)


def read_yaml(text: str, *, label: str) -> Document:
    """The mapping in one YAML document; an empty document is an empty mapping."""
    composer = _Composer(label)
    value = composer.document(text)
    if value is not None and not isinstance(value, dict) and not composer.problems:
        kind = "a list" if isinstance(value, list) else "a single value"
        composer.problems.append(
            Problem(
                f"the file holds {kind}; a configuration is a mapping of keys to values",
                where=f"{label}:1:1",
            )
        )
    if composer.problems:
        raise ConfigError.of(composer.problems)
    return Document(value if isinstance(value, dict) else {}, composer.places)


def read_value(text: str) -> Any:
    """One value given on the command line or in the environment, parsed as YAML.

    ValueError with a sentence where it cannot be read.
    """
    composer = _Composer("")
    try:
        value = composer.document(text)
    except ConfigError as error:
        raise ValueError(error.message) from None
    if composer.problems:
        raise ValueError(composer.problems[0].message)
    return value


def _read_toml(text: str, *, label: str) -> Document:
    try:
        return Document(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        match = re.search(r" \(at line (\d+), column (\d+)\)$", message)
        where = f"{label}:{match[1]}:{match[2]}" if match else label
        plain = message[: match.start()] if match else message
        raise ConfigError(f"not valid TOML: {plain}", where=where) from None
    except RecursionError:
        raise ConfigError("nested too deep", where=label) from None


class _Composer:
    """Builds values out of parser events, so that nothing is expanded before it is checked."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._events: Any = None
        self.places: dict[KeyPath, str] = {}
        self.problems: list[Problem] = []

    def document(self, text: str) -> Any:
        """The value of the only document in `text`; ConfigError where the syntax is broken."""
        try:
            self._events = iter(_events(text))
            value = None
            documents = 0
            for event in self._events:
                if isinstance(event, yaml.DocumentStartEvent):
                    documents += 1
                    if documents > 1:
                        self._problem("a second document starts here; one file holds one", event)
                        break
                    value = self._node(next(self._events), ())
            return value
        except yaml.MarkedYAMLError as error:
            raise self._syntax_error(error, text) from None
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            column = error.position - (text.rfind("\n", 0, error.position) + 1) + 1
            raise ConfigError(
                "a control character that YAML does not allow",
                where=self._where(line, column),
            ) from None

    def _node(self, event: Any, path: KeyPath) -> Any:
        if isinstance(event, yaml.AliasEvent):
            self._problem(f"aliases (*{event.anchor}) are not read; write the value out", event)
            return None
        if event.anchor is not None:
            self._problem(f"anchors (&{event.anchor}) are not read; write the value out", event)
        if event.tag is not None:
            self._problem(f"tags ({event.tag[:60]}) are not read; remove it", event)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if len(path) >= MAX_DEPTH:
            self._problem(f"nested deeper than {MAX_DEPTH} levels", event)
            raise ConfigError.of(self.problems)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path)
        return self._mapping(path)

    def _scalar(self, event: Any) -> Any:
        if event.style:  # quoted or block text; the two readers write "" and None for plain
            return event.value
        try:
            return plain_scalar(event.value)
        except _BadScalar as error:
            self._problem(str(error), event, hint="quote it where it is text")
            return None

    def _sequence(self, path: KeyPath) -> list[Any]:
        items: list[Any] = []
        for event in self._events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            here = (*path, len(items))
            self.places[here] = self._place(event)
            items.append(self._node(event, here))
        return items

    def _mapping(self, path: KeyPath) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        for event in self._events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key = self._key(event, path)
            here = (*path, key)
            if key in entries:
                first = self.places[here].rpartition(":")[0].rpartition(":")[2]
                self._problem(f"'{key}' stands twice; it is also on line {first}", event)
            else:
                self.places[here] = self._place(event)
            entries[key] = self._node(next(self._events), here)
        return entries

    def _key(self, event: Any, path: KeyPath) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            self._problem("a key is a word, not a list or mapping", event)
            self._node(event, (*path, "?"))
            return "?"
        if event.value == "<<" and not event.style:
            self._problem("merge keys (<<) are not read; use 'extends' or write it out", event)
        elif event.anchor is not None or event.tag is not None:
            self._problem("anchors and tags are not read; remove it", event)
        return event.value

    def _place(self, event: Any) -> str:
        return self._where(event.start_mark.line + 1, event.start_mark.column + 1)

    def _where(self, line: int, column: int) -> str:
        return f"{self._label}:{line}:{column}"

    def _problem(self, message: str, event: Any, *, hint: str | None = None) -> None:
        self.problems.append(Problem(message, self._place(event), hint))

    def _syntax_error(self, error: yaml.MarkedYAMLError, text: str) -> ConfigError:
        mark = error.problem_mark or error.context_mark
        what = error.problem or "cannot be read"
        where = self._where(mark.line + 1, mark.column + 1) if mark else self._label
        hint = None
        lines = text.splitlines()
        line = lines[mark.line] if mark and mark.line < len(lines) else ""
        if "\t" in line[: len(line) - len(line.lstrip())]:
            what = "a tab indents this line"
            hint = "indent with spaces"
        return ConfigError(f"not valid YAML: {what}", where=where, hint=hint)


def _events(text: str) -> Any:
    loader = _READER(text)
    try:
        while loader.check_event():
            yield loader.get_event()
    finally:
        loader.dispose()
