"""What the configuration says of itself: the resolved file, a field's meaning, the JSON Schema."""

import json
import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from zephyrctl.config.fields import (
    SchemaField,
    all_fields,
    describe,
    fields_of,
    registry_of,
    settings,
)
from zephyrctl.config.layers import Loaded, Origin
from zephyrctl.config.schema import Recipe
from zephyrctl.config.schema.section import Variant, variant_model
from zephyrctl.config.trainer_args import FIELDS, OWNED, REFUSED
from zephyrctl.config.yaml import plain_scalar
from zephyrctl.errors import UsageError
from zephyrctl.registry import Registry, nearest

SCHEMA_URL = "https://json-schema.org/draft/2020-12/schema"

_WIDE = 44  # column where the comment with the origin starts
_PLAIN = re.compile(r"[A-Za-z_./~][A-Za-z0-9_./~@+=-]*")
# What a YAML 1.1 reader takes for a boolean; ours does not, but people have other readers.
_OLD_BOOLEANS = {"y", "n", "yes", "no", "on", "off"}


def to_yaml(loaded: Loaded, *, origins: bool = True, changed_only: bool = False) -> str:
    """The resolved recipe as YAML, each setting with its origin as a comment.

    Read back by our own reader it is the same recipe. `changed_only` leaves defaults out.
    """
    values = _shortened(loaded.recipe)
    lines = list(_lines(values, "", loaded.origins, changed_only))
    width = min(_WIDE, max((len(text) for text, _ in lines), default=0)) + 2
    rendered = [
        f"{text:<{width - 2}}  # {comment}" if origins and comment else text
        for text, comment in lines
    ]
    return "\n".join(rendered) + "\n" if rendered else "{}\n"


def explain(key: str) -> str:
    """What a section or setting means, accepts and defaults to; UsageError where it is unknown."""
    if not key:
        return _section_text("", Recipe)
    known = all_fields()
    if key not in known:
        parent = _dictionary_above(key)
        if parent is None:
            raise UsageError(_unknown(key), hint="zephyrctl config explain")
        key = parent
    field = known[key]
    if field.section is not None:
        return _section_text(key, field.section)
    return _setting_text(field)


def schema() -> dict[str, Any]:
    """The JSON Schema of a configuration file, for editors."""
    return {
        "$schema": SCHEMA_URL,
        **Recipe.model_json_schema(),
        "title": "zephyrctl configuration",
    }


def inline(value: Any) -> str:
    """A value as YAML on one line."""
    if isinstance(value, dict):
        inside = ", ".join(f"{inline(str(key))}: {inline(item)}" for key, item in value.items())
        return "{" + inside + "}"
    if isinstance(value, list):
        return "[" + ", ".join(inline(item) for item in value) + "]"
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, str):
        return _text(value)
    return str(value)


def _shortened(section: BaseModel) -> dict[str, Any]:
    """Every setting of a section; items of lists without the keys that keep their default."""
    values: dict[str, Any] = {}
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            values[name] = _shortened(value)
        elif isinstance(value, list):
            values[name] = [_item(item) for item in value]
        else:
            values[name] = section.model_dump(mode="json", include={name})[name]
    return values


def _item(value: Any) -> Any:
    if not isinstance(value, BaseModel):
        return value
    fields = value.model_dump(mode="json", exclude_defaults=True)
    return fields["name"] if list(fields) == ["name"] and isinstance(value, Variant) else fields


def _lines(
    values: dict[str, Any], prefix: str, origins: dict[str, Origin], changed_only: bool
) -> Iterator[tuple[str, str]]:
    indent = "  " * prefix.count(".")
    for key, value in values.items():
        path = prefix + key
        if path in settings():
            if changed_only and origins[path].kind == "default":
                continue
            yield from _setting_lines(key, value, indent, f"← {origins[path].label}")
        else:
            inside = list(_lines(value, f"{path}.", origins, changed_only))
            if inside:
                yield f"{indent}{key}:", ""
                yield from inside


def _setting_lines(key: str, value: Any, indent: str, comment: str) -> Iterator[tuple[str, str]]:
    short = f"{indent}{key}: {inline(value)}"
    if len(short) <= 80 or not isinstance(value, dict | list) or not value:
        yield short, comment
        return
    yield f"{indent}{key}:", comment
    if isinstance(value, dict):
        for name, item in value.items():
            yield f"{indent}  {inline(name)}: {inline(item)}", ""
    else:
        for item in value:
            yield f"{indent}  - {inline(item)}", ""


def _text(value: str) -> str:
    if _PLAIN.fullmatch(value) and value.lower() not in _OLD_BOOLEANS:
        try:
            if plain_scalar(value) == value:
                return value
        except ValueError:
            pass
    return '"' + "".join(map(_quoted, value)) + '"'


def _quoted(char: str) -> str:
    # Not json.dumps: its pairs of surrogates for characters beyond U+FFFF are no YAML.
    if char in '"\\':
        return f"\\{char}"
    if char.isprintable():
        return char
    code = ord(char)
    return (
        f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
    )


def _float(value: float) -> str:
    # PyYAML and other YAML 1.1 readers take `2e-05` for text; with a point it is a number.
    text = repr(value)
    mantissa, exponent, power = text.partition("e")
    return text if not exponent or "." in mantissa else f"{mantissa}.0e{power}"


def _setting_text(field: SchemaField) -> str:
    lines = [field.path, "", f"  {' '.join(field.description.split())}", ""]
    lines.append(f"  accepts   {field.accepts}")
    if not field.required:
        lines.append(f"  default   {inline(plain(field.default))}")
    if "[" not in field.path:
        name = field.path.replace(".", "__").upper()
        lines.append(f"  set by    --set {field.path}=…, or ZEPHYRCTL_{name}=…")
    registry = registry_of(field.annotation)
    if registry is not None:
        lines += ["", *_entries(registry)]
    for model in item_models(field.annotation):
        lines += ["", "  each item:", *_rows(fields_of(model))]
    if field.path.endswith(".trainer_args"):
        stage = "sft" if field.path.startswith("sft") else "dpo"
        usable = sorted(FIELDS[stage] - OWNED[stage].keys() - REFUSED.keys())
        lines += ["", "  fields:", *_wrapped(usable)]
    return "\n".join(lines) + "\n"


def _section_text(key: str, model: type[BaseModel]) -> str:
    lines = [f"{key}", "", f"  {' '.join((model.__doc__ or '').split())}", ""] if key else []
    rows = _rows(fields_of(model, prefix=f"{key}." if key else ""))
    return "\n".join([*lines, *rows]) + "\n"


def _rows(fields: list[SchemaField]) -> list[str]:
    names = [field.path.rpartition(".")[2] for field in fields]
    width = max(map(len, names), default=0)
    rows = []
    for name, field in zip(names, fields, strict=True):
        summary = " ".join(field.description.split()).split(". ")[0].rstrip(".")
        default = "" if field.section or field.required else f" [{inline(plain(field.default))}]"
        rows.append(f"  {name:<{width}}  {summary}{default}")
    return rows


def _entries(registry: Registry) -> Iterator[str]:
    for entry in registry.entries():
        yield f"  {entry.name}: {entry.summary}"
        model = variant_model(registry, entry.name) or Variant
        for field in fields_of(model):
            if field.path != "name":
                meaning = " ".join(field.description.split())
                default = "" if field.required else f" [{inline(plain(field.default))}]"
                yield f"      {field.path}: {describe(field.annotation, field.metadata)}{default}"
                yield f"          {meaning}"


def item_models(annotation: Any) -> list[type[BaseModel]]:
    """The models of the items of a list or mapping."""
    arguments = getattr(annotation, "__args__", ())
    return [
        item
        for item in arguments
        if isinstance(item, type) and issubclass(item, BaseModel) and not issubclass(item, Variant)
    ]


def _wrapped(words: list[str], width: int = 92) -> list[str]:
    lines, line = [], ""
    for word in words:
        if line and len(line) + len(word) + 1 > width:
            lines.append(f"    {line}")
            line = ""
        line = f"{line} {word}".strip()
    return [*lines, f"    {line}"] if line else lines


def plain(value: Any) -> Any:
    """A default as plain data."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def _dictionary_above(key: str) -> str | None:
    parts = key.split(".")
    for end in range(len(parts) - 1, 0, -1):
        above = ".".join(parts[:end])
        if above in settings():
            takes_keys = settings()[above].accepts.startswith(("a mapping", "a list"))
            return above if takes_keys else None
    return None


def _unknown(key: str) -> str:
    homes = [path for path in all_fields() if path.rpartition(".")[2] == key]
    if homes:
        return (
            f"'{key}' is in more than one section: {', '.join(homes)}"
            if len(homes) > 1
            else (f"unknown key '{key}'; did you mean '{homes[0]}'?")
        )
    guess = nearest(key, all_fields())
    return f"unknown key '{key}'" + (f"; did you mean '{guess}'?" if guess else "")
