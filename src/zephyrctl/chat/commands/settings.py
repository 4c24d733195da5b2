"""With which settings are replies drawn?"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import ValidationError

from zephyrctl import terminal
from zephyrctl.chat.session import check_text
from zephyrctl.config.schema.chat import Chat
from zephyrctl.errors import UsageError
from zephyrctl.generation.sampling import Sampling
from zephyrctl.registry import did_you_mean

if TYPE_CHECKING:
    from zephyrctl.chat.repl import Repl

SETTINGS = ("temperature", "top_p", "top_k", "max_new_tokens", "seed")
_SHORT = {"temp": "temperature", "max_tokens": "max_new_tokens"}
_UNREAD = {
    "float_parsing": "a number",
    "finite_number": "a number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
}
"""What a setting takes, by Pydantic's name for a text that is none."""


def system(repl: Repl, rest: str) -> None:
    """Show the system prompt, or set it for the conversation: /system Answer briefly.

    /system - removes it.
    """
    if rest:
        check_text(rest)
        repl.session.system = None if rest == "-" else rest
    terminal.say(f"system: {repl.session.system or '(none)'}")


def set_(repl: Repl, rest: str) -> None:
    """Show the settings of sampling, or change one for the rest of the chat: /set temp 0.2

    They are temperature, top_p, top_k, max_new_tokens and seed.
    """
    if not rest:
        for known in SETTINGS:
            terminal.say(f"  {known} {getattr(repl.sampling, known)}")
        return
    given, _, value = rest.replace("=", " ", 1).partition(" ")
    name = _SHORT.get(given, given)
    if value.strip() or name not in SETTINGS:
        repl.sampling = changed(repl.sampling, name, value.strip())
    terminal.say(f"{name} {getattr(repl.sampling, name)}")


def changed(sampling: Sampling, name: str, value: str) -> Sampling:
    """`sampling` with one setting read from text, held to the bounds of the configuration."""
    name = _SHORT.get(name, name)
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
        raise UsageError(f"{name} is {reason}, not '{value}'") from None
    return replace(sampling, **{name: getattr(parsed, name)})
