"""Which settings of sampling can be changed in a chat, and what does a typed value make of them?"""

from __future__ import annotations

from dataclasses import replace

from pydantic import ValidationError

from zephyrctl.config.schema.chat import Chat
from zephyrctl.errors import UsageError
from zephyrctl.generation.sampling import Sampling
from zephyrctl.registry import did_you_mean

SETTINGS = ("temperature", "top_p", "top_k", "max_new_tokens", "seed")
_SHORT = {"temp": "temperature", "max_tokens": "max_new_tokens"}
_UNREAD = {
    "float_parsing": "a number",
    "finite_number": "a number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
}
"""What a setting takes, by Pydantic's name for a text that is none."""


def full_name(name: str) -> str:
    """The name of a setting that was typed, also by its short one."""
    return _SHORT.get(name, name)


def changed(sampling: Sampling, name: str, value: str) -> Sampling:
    """`sampling` with one setting read from text, held to the bounds of the configuration."""
    name = full_name(name)
    if name not in SETTINGS:
        raise UsageError(
            f"unknown setting '{name}'{did_you_mean(name, SETTINGS)}",
            hint=f"known: {', '.join(SETTINGS)}",
        )
    if name == "seed":
        if not value.isdecimal():
            raise UsageError(f"seed takes a whole number from 0 on, not '{value}'")
        return replace(sampling, seed=int(value))
    try:
        parsed = Chat.model_validate({name: value}, strict=False)
    except ValidationError as error:
        kind = error.errors(include_url=False)[0]["type"]
        if kind in _UNREAD:
            raise UsageError(f"{name} takes {_UNREAD[kind]}, not '{value}'") from None
        reason = error.errors(include_url=False)[0]["msg"].removeprefix("Input should be ")
        raise UsageError(f"{name} must be {reason}, not '{value}'") from None
    return replace(sampling, **{name: getattr(parsed, name)})
