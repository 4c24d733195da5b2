"""How is the conversation begun anew, taken back, answered again, kept and left?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from zephyrctl import terminal
from zephyrctl.chat import editor, saved
from zephyrctl.chat.commands.arguments import refuse_words
from zephyrctl.chat.session import check_text
from zephyrctl.chat.settings import changed
from zephyrctl.errors import UsageError
from zephyrctl.generation.sampling import Sampling

if TYPE_CHECKING:
    from zephyrctl.chat.repl import Repl
    from zephyrctl.chat.session import Session


def new(repl: Repl, rest: str) -> None:
    """Begin a new conversation. The system prompt and the settings stay."""
    refuse_words("new", rest)
    repl.session.clear()
    repl.forget_reading()
    terminal.say("(a new conversation; the system prompt stays)")


def regen(repl: Repl, rest: str) -> None:
    """Answer the last question again, with the next seed.

    Settings after it are for this reply alone, and leave the seed of the chat where it is:
    /regen temp=1.2 seed=7. The reply before is kept where nothing comes in its place.
    """
    settings = repl.sampling
    once = _overridden(replace(settings, seed=settings.seed + 1), rest)
    if not repl.session.turns:
        raise UsageError("there is no question to answer again")
    if once.is_greedy and not repl.session.waits:
        terminal.say("(temperature is 0: the same answer comes again)")
    try:
        with _put_back_without_reply(repl.session, "(the reply before is kept)"):
            repl.session.take_back_reply()
            repl.sampling = once
            repl.answer()
    finally:
        repl.sampling = settings if rest else replace(settings, seed=settings.seed + 1)


@contextmanager
def _put_back_without_reply(session: Session, told: str) -> Iterator[None]:
    """Where the block leaves less than there was, a question without the reply that the one before
    it had, the conversation is as it was again, and `told` is said."""
    before = list(session.turns)
    try:
        yield
    finally:
        if len(session.turns) < len(before):
            session.turns = before
            terminal.say(told)


def _overridden(sampling: Sampling, rest: str) -> Sampling:
    """The settings with those of `temp=1.2 seed=7` over them."""
    for word in rest.split():
        name, given, value = word.partition("=")
        if not given:
            raise UsageError(f"'{word}' sets nothing", hint="/regen temp=1.2 seed=7")
        sampling = changed(sampling, name, value)
    return sampling


def undo(repl: Repl, rest: str) -> None:
    """Take the last question and its reply back."""
    refuse_words("undo", rest)
    last = repl.comparison and repl.comparison.last
    was_voted = last and last.ballot and repl.session.messages[:-1] == last.prompt
    question = repl.session.undo()
    if question is None:
        raise UsageError("there is nothing to undo")
    first = question.strip().partition("\n")[0]
    terminal.say(f"(taken back: {first[:60]}{'…' if len(first) > 60 or first != question else ''})")
    if was_voted:
        terminal.say("(the vote on its replies stays in the tally)")


def edit(repl: Repl, rest: str) -> None:
    """Change the last question in $VISUAL or $EDITOR, and ask it in place of the old one.

    /edit new begins with an empty text. Nothing is asked where the text is left empty or as it
    was, and the old question is kept with its reply where none comes to the new one.
    """
    if rest not in ("", "new"):
        raise UsageError(f"/edit takes nothing or 'new', not '{rest}'")
    last = None if rest else repl.session.last_question
    text = editor.edit(last or "", env=os.environ)
    if not text.strip():
        terminal.say("(empty: nothing is asked)")
    elif text == last:
        terminal.say("(unchanged: nothing is asked)")
    elif last is None:
        terminal.say(text)
        repl.ask(text)
    else:
        check_text(text)
        terminal.say(text)
        with _put_back_without_reply(repl.session, "(the question before is kept, with its reply)"):
            repl.session.undo()
            repl.ask(text)


def save(repl: Repl, rest: str) -> None:
    """Write the conversation to a new file: one JSONL row of `messages`, ready as SFT data."""
    if not rest:
        raise UsageError("save where?", hint="/save chat.jsonl")
    saved.save(repl.session, _path(rest))
    terminal.say(f"(saved to {rest}, one row of `messages`)")


def load(repl: Repl, rest: str) -> None:
    """Go on with the conversation in the last row of a JSONL file, as /save writes it.

    It takes the place of this one, with its system prompt.
    """
    if not rest:
        raise UsageError("load what?", hint="/load chat.jsonl")
    left = len(repl.session.turns)
    repl.session = saved.load(_path(rest))
    repl.forget_reading()
    instead = f" in the place of {left}" if left else ""
    count = len(repl.session.turns)
    terminal.say(
        f"({count} {'message' if count == 1 else 'messages'}{instead}; /history shows them)"
    )
    if repl.session.turns[-1].role == "user":
        terminal.say("(the last one is a question without a reply: /regen answers it)")


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError as error:  # ~name of nobody
        raise UsageError(f"no such place: {text}") from error


def quit_(repl: Repl, rest: str) -> None:
    """Leave, as Ctrl-D does."""
    refuse_words("quit", rest)
    repl.left = True
