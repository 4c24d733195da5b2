"""What is shown of the chat: its commands, its model, what was said, the prompt?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zephyrctl import terminal
from zephyrctl.catalogue import CHAT_COMMANDS
from zephyrctl.chat.commands.settings import SETTINGS
from zephyrctl.chat.session import Session

if TYPE_CHECKING:
    from zephyrctl.chat.repl import Repl


def help_(repl: Repl, rest: str) -> None:
    """Show what can be typed."""
    del repl, rest
    for entry in CHAT_COMMANDS.entries():
        terminal.say(f"  /{entry.name:<9} {entry.summary}")
    terminal.say('  """        begins and ends a question of several lines')
    terminal.say("  Ctrl-C     stops a reply and keeps it")


def status(repl: Repl, rest: str) -> None:
    """Show who answers and how."""
    del rest
    settings = ", ".join(f"{name} {getattr(repl.sampling, name)}" for name in SETTINGS)
    rows = [
        ("model", repl.talker.name),
        *repl.talker.facts,
        ("sampling", settings),
        ("system", repl.session.system or "(none)"),
        ("messages", str(len(repl.session.turns))),
    ]
    tokens = repl.talker.count(repl.session.messages) if repl.session.turns else None
    if tokens is not None and repl.talker.context:
        rows.append(("used", f"{tokens} tokens, {tokens / repl.talker.context:.0%} of the context"))
    for label, value in rows:
        terminal.say(f"  {label:<9} {value}")


def history(repl: Repl, rest: str) -> None:
    """Show the conversation so far."""
    del rest
    for message in repl.session.messages:
        terminal.say(f"[{message.role}]")
        terminal.say(message.content)


def stats(repl: Repl, rest: str) -> None:
    """Show tokens and speed."""
    del rest
    totals = repl.totals
    rate = f", {totals.tokens / totals.seconds:.1f} tokens/s" if totals.seconds else ""
    terminal.say(f"last: {totals.last}")
    terminal.say(f"all:  {totals.tokens} tokens in {totals.replies} replies{rate}")


def template(repl: Repl, rest: str) -> None:
    """Show the next prompt exactly as the model reads it."""
    del rest
    messages = repl.session.messages
    if not messages or messages[-1].role != "user":
        probe = Session(repl.session.system, list(repl.session.turns))
        probe.ask("(your next question)")
        messages = probe.messages
    terminal.say(repl.talker.rendered(messages))
