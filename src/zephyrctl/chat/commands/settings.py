"""With which settings are replies drawn?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zephyrctl import terminal
from zephyrctl.chat.session import check_text
from zephyrctl.chat.settings import SETTINGS, changed, full_name
from zephyrctl.chat.wrapping import say_wrapped

if TYPE_CHECKING:
    from zephyrctl.chat.repl import Repl


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
    name = full_name(given)
    if value.strip() or name not in SETTINGS:
        repl.sampling = changed(repl.sampling, name, value.strip())
    terminal.say(f"{name} {getattr(repl.sampling, name)}")
    context = repl.talker.context
    if name == "max_new_tokens" and context and repl.sampling.max_new_tokens >= context:
        say_wrapped(f"(the context of {context} tokens, prompt and reply together, ends it before)")
