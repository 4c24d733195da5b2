"""What is shown of the chat: its commands, its model, what was said, the prompt?"""

from __future__ import annotations

import inspect
import os
from typing import TYPE_CHECKING

from zephyrctl import terminal
from zephyrctl.catalogue import CHAT_COMMANDS
from zephyrctl.chat import clipboard
from zephyrctl.chat.commands.arguments import refuse_words
from zephyrctl.chat.session import RULE, RULE_ELSEWHERE, Session
from zephyrctl.chat.settings import SETTINGS
from zephyrctl.chat.wrapping import say_wrapped
from zephyrctl.errors import EnvironmentProblem, UsageError
from zephyrctl.registry import load_attribute

if TYPE_CHECKING:
    from zephyrctl.chat.repl import Repl


_NEXT = ", with the frame of the next turn"
"""What a count has in it that the line after a reply has not."""
_KEYS = (
    ("Tab", "completes commands, settings, models and files"),
    ("Alt-Enter", "begins a new line; a paste of many lines is one question"),
    ('"""', "begins and ends a question of several lines"),
    ("Ctrl-C", "stops a reply and keeps it; again, breaks it off"),
    ("Ctrl-D", "leaves"),
)


def help_(repl: Repl, rest: str) -> None:
    """Show what can be typed, or what one command does: /help regen."""
    del repl
    if rest:
        entry = CHAT_COMMANDS.get(rest.removeprefix("/"))
        say_wrapped(entry.summary, head=f"/{entry.name}: ")
        for paragraph in (inspect.getdoc(load_attribute(entry.target)) or "").split("\n\n"):
            say_wrapped(" ".join(paragraph.split()))
        return
    for entry in CHAT_COMMANDS.entries():
        say_wrapped(entry.summary, head=f"  /{entry.name:<9} ")
    for key, does in _KEYS:
        say_wrapped(does, head=f"  {key:<10} ")


def status(repl: Repl, rest: str) -> None:
    """Show the model, its template, the settings, and how full the context is."""
    refuse_words("status", rest)
    settings = ", ".join(f"{name} {_setting(repl, name)}" for name in SETTINGS)
    rows = [
        ("model", repl.talker.name),
        *repl.talker.facts,
        *(repl.comparison.status() if repl.comparison is not None else ()),
        ("sampling", settings),
        ("system", repl.session.system or "(none)"),
        ("messages", str(len(repl.session.turns))),
    ]
    rows += _context(repl)
    for label, value in rows:
        say_wrapped(value, head=f"  {label:<9} ")


def _setting(repl: Repl, name: str) -> str:
    is_sent = name != "top_k" or repl.comparison is not None or repl.talker.weight_bytes is not None
    return str(getattr(repl.sampling, name)) if is_sent else "not sent"


def _context(repl: Repl) -> list[tuple[str, str]]:
    """How full the context is, and what happens when it is."""
    limit = repl.talker.context
    is_elsewhere = repl.talker.weight_bytes is None
    rows = [("context", f"{limit} tokens" if limit else "unknown")] if is_elsewhere else []
    used, when = repl.totals.used, " at the last reply"
    if not is_elsewhere and repl.session.turns:
        used, when = repl.talker.count(repl.session.messages), _NEXT
    if limit and used:
        rows.append(("used", f"{used} tokens, {used / limit:.0%} of the context{when}"))
    elif limit and is_elsewhere and repl.session.turns:
        rows.append(("used", "unknown: a service tells its count at the end of a reply, if at all"))
    for name, count in repl.left_out.items():
        if count:
            whose = "" if repl.comparison is None else f", by {name}"
            rows.append(("left out", f"the first {count} messages{whose}"))
    if is_elsewhere:
        return [*rows, ("rule", RULE_ELSEWHERE)]
    return [*rows, ("rule", RULE)] if limit else rows


def history(repl: Repl, rest: str) -> None:
    """Show the conversation so far."""
    refuse_words("history", rest)
    if not repl.session.turns:
        terminal.say("(nothing was asked yet)")
    for message in repl.session.messages:
        terminal.say(f"[{message.role}]")
        terminal.say(message.content)


def stats(repl: Repl, rest: str) -> None:
    """Show tokens and speed, of the last reply and of all."""
    refuse_words("stats", rest)
    totals = repl.totals
    rate = f", {totals.tokens / totals.seconds:.1f} tokens/s" if totals.seconds else ""
    replies = "1 reply" if totals.replies == 1 else f"{totals.replies} replies"
    say_wrapped(totals.last, head="last: ")
    say_wrapped(f"{totals.tokens} tokens in {replies}{rate}", head="all:  ")
    if totals.prompt_tokens:
        read = f"{totals.prompt_tokens} tokens of prompts, {totals.cached} of them cached"
        say_wrapped(read, head="read: ")


def raw(repl: Repl, rest: str) -> None:
    """Show the last reply as the model wrote it: its Markdown unformatted, and control characters
    as escapes such as \\x1b."""
    refuse_words("raw", rest)
    terminal.say(_visible(_last_reply(repl)))


def _visible(text: str) -> str:
    """`text` with whatever `terminal.safe` would take out as its escape."""
    return "".join(
        sign if terminal.safe(sign) == sign else sign.encode("unicode_escape").decode()
        for sign in text
    )


def copy(repl: Repl, rest: str) -> None:
    """Copy the last reply, as the model wrote it, to the clipboard.

    By pbcopy, wl-copy or xclip where it is there, and by OSC 52, which not every terminal takes.
    """
    refuse_words("copy", rest)
    text = _last_reply(repl)
    ways, problems = clipboard.copy(text, env=os.environ)
    if not ways:
        raise EnvironmentProblem(f"the reply cannot be copied: {'; '.join(problems)}")
    terminal.say(f"({len(text)} characters copied by {' and '.join(ways)})")
    for problem in problems:
        terminal.say(f"({problem})")


def _last_reply(repl: Repl) -> str:
    text = repl.session.last_reply
    if text is None:
        raise UsageError("there is no reply yet")
    return text


def template(repl: Repl, rest: str) -> None:
    """Show the next prompt exactly as the model reads it, and its length in tokens."""
    refuse_words("template", rest)
    messages = repl.session.messages
    if not messages or messages[-1].role != "user":
        probe = Session(repl.session.system, list(repl.session.turns))
        probe.ask("(your next question)")
        messages = probe.messages
    if repl.comparison is not None:
        for name, prompt in repl.comparison.rendered(messages):
            terminal.say(f"[{name}]\n{prompt}")
        return
    terminal.say(repl.talker.rendered(messages))
    terminal.say(f"({repl.talker.count(messages)} tokens)")
