"""How is the conversation begun anew, taken back, kept and left?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from zephyrctl import terminal
from zephyrctl.chat import session
from zephyrctl.errors import UsageError

if TYPE_CHECKING:
    from zephyrctl.chat.repl import Repl


def new(repl: Repl, rest: str) -> None:
    """Begin anew; the system prompt stays."""
    del rest
    repl.session.clear()
    terminal.say("(a new conversation; the system prompt stays)")


def regen(repl: Repl, rest: str) -> None:
    """Answer the last question again, with the next seed."""
    del rest
    if not repl.session.take_back_reply():
        raise UsageError("there is no question to answer again")
    repl.sampling = replace(repl.sampling, seed=repl.sampling.seed + 1)
    if repl.sampling.is_greedy:
        terminal.say("(temperature is 0: the same answer comes again)")
    repl.answer()


def undo(repl: Repl, rest: str) -> None:
    """Take the last question and its reply back."""
    del rest
    question = repl.session.undo()
    if question is None:
        raise UsageError("there is nothing to undo")
    terminal.say(f"(taken back: {question[:60]})")


def save(repl: Repl, rest: str) -> None:
    """Write the conversation to a file."""
    if not rest:
        raise UsageError("save where?", hint="/save chat.jsonl")
    session.save(repl.session, Path(rest).expanduser())
    terminal.say(f"(saved to {rest}, one row of `messages`)")


def load(repl: Repl, rest: str) -> None:
    """Take the conversation of a file."""
    if not rest:
        raise UsageError("load what?", hint="/load chat.jsonl")
    repl.session = session.load(Path(rest).expanduser())
    terminal.say(f"({len(repl.session.turns)} messages; /history shows them)")


def quit_(repl: Repl, rest: str) -> None:
    """Leave."""
    del rest
    repl.left = True
