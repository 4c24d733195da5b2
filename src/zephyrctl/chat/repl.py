"""What happens at the prompt of `zephyrctl chat`?

Replies go to stdout, everything else to stderr. The model's text is foreign: control characters
and escape sequences are taken out of it before it is shown, never out of what the model reads.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from zephyrctl import terminal
from zephyrctl.catalogue import CHAT_COMMANDS
from zephyrctl.chat import meter
from zephyrctl.chat.lines import is_open, unfenced
from zephyrctl.chat.meter import Totals
from zephyrctl.chat.replying import Drawn, Render, as_error, draw
from zephyrctl.chat.session import Readable, Session
from zephyrctl.chat.talker import Talker
from zephyrctl.chat.view import prepare_view
from zephyrctl.chat.wrapping import say_wrapped
from zephyrctl.errors import UsageError
from zephyrctl.generation.sampling import Sampling
from zephyrctl.registry import did_you_mean

if TYPE_CHECKING:
    from zephyrctl.chat.comparison import Comparison
    from zephyrctl.chat.seats import Seating


def _opens_nothing(ref: str) -> Talker:
    raise UsageError(f"{ref} cannot be opened here")


@dataclass
class Repl:
    """A conversation at a terminal.

    `read(sign)` returns what is typed next and raises EOFError at the end. `opener(ref)` opens a
    model by its reference, and `check(ref)` raises the error of a reference that names none, before
    anything is closed for it. While there is a `comparison`, it answers in the talker's place.
    """

    talker: Talker
    sampling: Sampling
    session: Session
    read: Callable[[str], str]
    opener: Callable[[str], Talker] = _opens_nothing
    check: Callable[[str], object] = lambda ref: ref
    comparison: Comparison | None = None
    seating: Seating | None = None
    """How the models of a comparison are found; None where there can be none."""
    render: Render = "auto"
    totals: Totals = field(default_factory=Totals)
    left_out: dict[str, int] = field(default_factory=dict[str, int])
    """How many of the oldest messages each model, by its name, did not read the last time."""
    left: bool = False
    told: set[str] = field(default_factory=set)
    """The notices of the talker that were said."""

    def run(self) -> None:
        """Read and answer until the user leaves."""
        self.greet()
        prepare_view(self.render)
        while not self.left:
            try:
                self._turn()
            except EOFError:
                return
            except KeyboardInterrupt:  # of an empty prompt, or of what is no reply
                terminal.say("(Ctrl-D or /quit leaves)")

    def _turn(self) -> None:
        try:
            text = self.next_input()
        except UsageError as error:
            terminal.say_error(error)
            return
        try:
            self.handle(text)
        except Exception as error:
            terminal.say_error(as_error(error))

    def greet(self) -> None:
        """One line that says what answers here, and what should be known about it."""
        facts = [
            value if label in ("device", "endpoint") else f"{label} {value}"
            for label, value in self.talker.facts
            if label in ("device", "endpoint", "key", "template")
        ]
        if self.talker.context:
            facts.append(f"context {self.talker.context}")
        say_wrapped(" · ".join([self.talker.name, *facts, "/help"]))
        self.told.clear()
        self._say_notices()
        if self.comparison is not None:
            self.comparison.greet()

    def next_input(self) -> str:
        """The next line, or several between lines with three quotation marks."""
        text = self.read("› ")
        while is_open(text):
            text += "\n" + self.read("… ")
        return unfenced(text)

    def handle(self, text: str) -> None:
        """Carry out a command, or ask the model; `//` begins a question with a slash."""
        if not text.strip():
            return
        first = [*text.split(maxsplit=1), ""][0]
        if first.startswith("/") and first[1:].lower() in CHAT_COMMANDS:
            text = text.lstrip()  # a blank in front makes no question of a command
        if not text.startswith("/") or text.startswith("//"):
            self.ask(text.removeprefix("/") if text.startswith("//") else text)
            return
        name, rest = [*text[1:].split(maxsplit=1), "", ""][:2]
        name = name.lower()
        if name not in CHAT_COMMANDS:
            known = [f"/{one}" for one in CHAT_COMMANDS.names()]
            raise UsageError(
                f"unknown command /{name}{did_you_mean(f'/{name}', known)}",
                hint="/help lists them; // begins a question with a slash",
            )
        CHAT_COMMANDS.load(name)(self, rest.strip())

    def ask(self, text: str) -> None:
        """Add the user's question and have it answered; one that has no answer is asked with it."""
        joins = self.session.waits
        self.session.ask(text)
        if joins:
            say_wrapped("(asked together with the question before, which had no answer)")
        self.answer()

    def answer(self) -> None:
        """Let the model, or each of the compared ones, reply to the newest question."""
        if self.comparison is not None:
            self._compare(self.comparison)
            return
        readable = self.readable()
        drawn = draw(self.talker, readable.messages, sampling=self.sampling, render=self.render)
        self.session.reply(drawn.completion.text)
        if drawn.error is not None and not drawn.completion.text:
            raise drawn.error
        self.totals.add(drawn.completion, context=self.talker.context)
        self._say_end(drawn)
        self._say_notices()

    def _compare(self, comparison: Comparison) -> None:
        try:
            comparison.answer(
                self.session,
                sampling=self.sampling,
                render=self.render,
                totals=self.totals,
                left_out=self.left_out,
            )
        finally:  # a new one, where the one before was freed and is loaded again
            self.talker = comparison.own.talker or self.talker

    def end_comparison(self) -> None:
        """Go on with the chat's own model alone."""
        if self.comparison is not None:
            self.talker = self.comparison.end()
            self.forget_reading()
            self.comparison = None

    def forget_reading(self) -> None:
        """Note that what was known of the last prompt holds no longer."""
        self.left_out.clear()
        self.totals.used = None

    def _say_notices(self) -> None:
        """What should be known of the talker and was not said yet."""
        for text in self.talker.notices:
            if text not in self.told:
                self.told.add(text)
                say_wrapped(text, head="! ")

    def readable(self) -> Readable:
        """What the model can read of the conversation; said where less than before begins to be
        all of it."""
        readable = self.session.readable(
            self.talker.count,
            context=self.talker.context,
            reply_tokens=self.sampling.max_new_tokens,
        )
        name = self.talker.name
        if readable.left_out and not self.left_out.get(name):
            context = self.talker.context
            say_wrapped(meter.left_out(readable.left_out, context=context, model="the model"))
        self.left_out[name] = readable.left_out
        return readable

    def _say_end(self, drawn: Drawn) -> None:
        """How the reply ended, where the model did not end it, and what it took."""
        completion = drawn.completion
        if drawn.error is not None:
            terminal.say_error(drawn.error)
            say_wrapped("(broken off; what came is kept, /regen asks again)")
        elif drawn.was_stopped:
            say_wrapped(
                "(stopped; what came is kept, /undo takes it back)"
                if completion.text
                else "(stopped before anything came; /regen asks again, /undo takes it back)"
            )
        elif not completion.stopped:
            most, context = self.sampling.max_new_tokens, self.talker.context
            say_wrapped(
                meter.cut(completion, most=most, context=context, option="/set max_new_tokens")
            )
        if terminal.is_tty(sys.stderr):
            say_wrapped(self.totals.last, head="  ")
