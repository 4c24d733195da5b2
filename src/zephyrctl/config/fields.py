"""Which settings exist, and what each accepts, in words.

Everything is read off the schema: messages, `config explain` and the generated reference say the
same about a field because they all ask here.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from zephyrctl.config.schema import Recipe, launch
from zephyrctl.config.schema.recipe import RUN_NAME
from zephyrctl.config.schema.section import Chosen, Variant, variant_model
from zephyrctl.registry import Registry

_PATTERNS = {
    RUN_NAME: "letters, digits, '.', '_' and '-' (a letter or digit first, at most 64)",
    launch.ADDRESS: "an address such as host-0:29400",
    launch.CONSTRAINT: "features joined by & and |, such as h100&nvlink",
    launch.OPTION: "a long option such as --mail-type=END",
    launch.ACCELERATORS: "a kind and number such as H100:8",
    launch.BUCKET: "a bucket such as s3://my-runs",
}


@dataclass(frozen=True)
class SchemaField:
    """One key of the configuration; `default` is `PydanticUndefined` where it must be given."""

    path: str
    annotation: Any
    metadata: tuple[Any, ...]
    default: Any
    description: str

    @property
    def section(self) -> type[BaseModel] | None:
        """The model of a group of settings; None for a single setting."""
        return self.annotation if _is_model(self.annotation) else None

    @property
    def required(self) -> bool:
        return self.default is PydanticUndefined

    @property
    def accepts(self) -> str:
        """What may be written, in words: "a number above 0"."""
        return describe(self.annotation, self.metadata)


@cache
def all_fields() -> dict[str, SchemaField]:
    """Every section and setting by its dotted path, in the order of the schema."""
    return {field.path: field for field in _walk(Recipe, "")}


def settings() -> dict[str, SchemaField]:
    """`all_fields` without the sections."""
    return {path: field for path, field in all_fields().items() if field.section is None}


def fields_of(model: type[BaseModel], *, prefix: str = "") -> list[SchemaField]:
    """The fields of one section, not those of its sections."""
    return [_field(prefix + name, info) for name, info in model.model_fields.items()]


def model_at(path: Sequence[str | int], values: Any) -> type[BaseModel] | None:
    """The model of the mapping that stands at `path` in `values`, or None where none does.

    `values` decide which variant (filter, …) an item of a list is.
    """
    annotation: Any = Recipe
    metadata: Sequence[Any] = ()
    value: Any = values
    for part in path:
        annotation, metadata = _step(annotation, part)
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            value = None
    registry = _registry(metadata)
    if registry is not None:
        return variant_model(registry, value)
    candidates = [option for option, _ in _options(annotation, ()) if _is_model(option)]
    return candidates[0] if candidates else None


def field_at(path: Sequence[str | int], values: Any) -> SchemaField | None:
    """The setting at `path` in `values`: also a list's item or a mapping's entry."""
    *parents, last = path
    model = model_at(parents, values)
    if model is not None and isinstance(last, str) and last in model.model_fields:
        return _field(shown_path(path), model.model_fields[last])
    annotation: Any = Recipe
    metadata: Sequence[Any] = ()
    for part in path:
        annotation, metadata = _step(annotation, part)
    if annotation is Any:
        return None
    return SchemaField(shown_path(path), annotation, tuple(metadata), PydanticUndefined, "")


def shown_path(path: Sequence[str | int]) -> str:
    """A path as people write it: data.sft.train[0].path."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def accepts_text(annotation: Any) -> bool:
    """Whether any text is a value of the type."""
    return any(option is str for option, _ in _options(annotation, ()))


def accepts_kind(annotation: Any, kind: type) -> bool:
    """Whether the type has plain values of `kind` (int, float or bool)."""
    options = [option for option, _ in _options(annotation, ())]
    return kind in options or (kind is int and float in options) or Any in options


def choices(annotation: Any) -> list[str]:
    """The words a type takes; also those of its list items. Empty where it takes any."""
    words: list[str] = []
    for option, metadata in _options(annotation, ()):
        if get_origin(option) is Literal:
            words += [value for value in get_args(option) if isinstance(value, str)]
        elif get_origin(option) is list:
            words += choices(get_args(option)[0])
        registry = _registry(metadata)
        if registry is not None:
            words += registry.names()
    return list(dict.fromkeys(words))


def registry_of(annotation: Any) -> Registry | None:
    """The registry whose entries a field, or the items of its list, are chosen from."""
    for option, metadata in _options(annotation, ()):
        found = _registry(metadata)
        if found is None and get_origin(option) is list:
            found = registry_of(get_args(option)[0])
        if found is not None:
            return found
    return None


def describe(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """What a type accepts, in words."""
    parts = [_describe_one(option, found) for option, found in _options(annotation, metadata)]
    parts = list(dict.fromkeys(parts))
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} or {parts[-1]}"


def _describe_one(annotation: Any, metadata: Sequence[Any]) -> str:
    origin = get_origin(annotation)
    if _registry(metadata) is not None:
        return "a name, or a mapping with 'name'"
    if origin is Literal:
        words = [f"'{word}'" for word in get_args(annotation)]
        return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
    if origin is list:
        return f"a list ({_describe_items(get_args(annotation)[0])})"
    if origin is dict or _is_model(annotation):
        return "a mapping of keys to values"
    if annotation in (int, float):
        return ("a whole number" if annotation is int else "a number") + _bounds(metadata)
    if annotation is str:
        pattern = _constraint(metadata, "pattern")
        return _PATTERNS.get(pattern, "text") if pattern else "text"
    return {bool: "true or false", NoneType: "null"}.get(annotation, "any value")


def _describe_items(annotation: Any) -> str:
    words = describe(annotation)
    return f"each {words}"


def _bounds(metadata: Sequence[Any]) -> str:
    ge, gt = _constraint(metadata, "ge"), _constraint(metadata, "gt")
    le, lt = _constraint(metadata, "le"), _constraint(metadata, "lt")
    if ge is not None and le is not None:
        return f" from {_number(ge)} to {_number(le)}"
    low = f" of at least {_number(ge)}" if ge is not None else ""
    low = f" above {_number(gt)}" if gt is not None else low
    high = f" at most {_number(le)}" if le is not None else ""
    high = f" below {_number(lt)}" if lt is not None else high
    return f"{low}{' and' if low and high else ''}{high}"


def _number(value: float) -> str:
    return str(int(value)) if math.isfinite(value) and value == int(value) else str(value)


def _constraint(metadata: Sequence[Any], name: str) -> Any:
    for item in metadata:
        found = getattr(item, name, None)
        if found is not None:
            return found.pattern if isinstance(found, re.Pattern) else found
        if isinstance(item, FieldInfo):
            nested = _constraint(item.metadata, name)
            if nested is not None:
                return nested
    return None


def _options(annotation: Any, metadata: Sequence[Any]) -> Iterator[tuple[Any, Sequence[Any]]]:
    """Each member of a union with its own metadata; a plain type is its only member."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *found = get_args(annotation)
        yield from _options(inner, (*metadata, *found))
    elif origin in (Union, UnionType):
        for member in get_args(annotation):
            yield from _options(member, metadata)
    else:
        yield annotation, metadata


def _step(annotation: Any, part: str | int) -> tuple[Any, Sequence[Any]]:
    """The type one level down, with its metadata; `Any` where the schema says nothing."""
    for option, _ in _options(annotation, ()):
        origin = get_origin(option)
        if _is_model(option) and part in option.model_fields:
            info = option.model_fields[part]
            return info.annotation, info.metadata
        if (origin is list and isinstance(part, int)) or (origin is dict and isinstance(part, str)):
            inner = get_args(option)[-1]
            if get_origin(inner) is Annotated:
                return get_args(inner)[0], get_args(inner)[1:]
            return inner, ()
    return Any, ()


def _registry(metadata: Sequence[Any]) -> Registry | None:
    return next((item.registry for item in metadata if isinstance(item, Chosen)), None)


def _is_model(annotation: Any) -> bool:
    return (
        isinstance(annotation, type)
        and issubclass(annotation, BaseModel)
        and not issubclass(annotation, Variant)
    )


def _walk(model: type[BaseModel], prefix: str) -> Iterator[SchemaField]:
    for field in fields_of(model, prefix=prefix):
        yield field
        if field.section is not None:
            yield from _walk(field.section, f"{field.path}.")


def _field(path: str, info: FieldInfo) -> SchemaField:
    default = info.get_default(call_default_factory=True, validated_data={})
    return SchemaField(path, info.annotation, tuple(info.metadata), default, info.description or "")
