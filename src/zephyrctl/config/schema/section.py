"""What every section of the recipe has in common, and how a named variant is parsed."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, SerializeAsAny

from zephyrctl.errors import UsageError
from zephyrctl.registry import Registry, load_attribute


class Section(BaseModel):
    """A frozen group of settings that refuses keys it does not know.

    Strict: text is never taken for a number or `yes` for true. The YAML reader has already
    decided what is a number.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )


class Variant(Section):
    """One choice out of a registry, with the parameters of that choice."""

    name: str
    """The registered name."""


class Chosen:
    """Marks a field whose values are entries of `registry`, and draws its JSON Schema."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> dict[str, Any]:
        options: list[dict[str, Any]] = [{"enum": self.registry.names()}]
        for entry in self.registry.entries():
            model = variant_model(self.registry, entry.name)
            schema = dict((model or Variant).model_json_schema())
            schema["properties"] = {**schema["properties"], "name": {"const": entry.name}}
            schema["description"] = entry.summary
            options.append(schema)
        return {"anyOf": options}


def variant_model(registry: Registry, value: Any) -> type[Variant] | None:
    """The model of the entry that `value` (a name, or a mapping with `name`) chooses, if any."""
    name = value.get("name") if isinstance(value, dict) else value
    if not isinstance(name, str) or name not in registry:
        return None
    params = registry.get(name).params
    return load_attribute(params) if params else Variant


def variant_of(registry: Registry) -> Any:
    """The annotated type of a field that holds one entry of `registry`.

    In YAML the short form `drop_refusals` and the long form `{name: length, min_tokens: 8}` are
    the same thing. Unknown names fail with the nearest known one.
    """

    def parse(value: Any) -> Any:
        if isinstance(value, Variant):
            return value
        given = {"name": value} if isinstance(value, str) else value
        if not isinstance(given, dict) or not isinstance(given.get("name"), str):
            raise ValueError(f"a {registry.kind} is a name, or a mapping with the key 'name'")
        try:
            entry = registry.get(given["name"])
        except UsageError as error:
            raise ValueError(f"{error.message} ({error.hint})") from None
        model = load_attribute(entry.params) if entry.params else Variant
        return model.model_validate(given)

    return Annotated[SerializeAsAny[Variant], BeforeValidator(parse), Chosen(registry)]
