"""What every section of the recipe has in common, and how a named variant is parsed."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, SerializeAsAny

from zephyrctl.errors import UsageError
from zephyrctl.registry import Registry, load_attribute


class Section(BaseModel):
    """A frozen group of settings that refuses keys it does not know."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )


class Variant(Section):
    """One choice out of a registry, with the parameters of that choice."""

    name: str
    """The registered name."""


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

    return Annotated[SerializeAsAny[Variant], BeforeValidator(parse)]
