"""What happens at the prompt of `zephyrctl chat`?

Replies go to stdout, everything else to stderr. The model's text is foreign: control characters
and escape sequences are taken out of it before it is shown, never out of what the model reads.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from zephyrctl import terminal
from zephyrctl.catalogue import CHAT_COMMANDS
from zephyrctl.chat.session import Session
from zephyrctl.chat.talker import Talker
from zephyrctl.errors import UsageError, ZephyrctlError
from zephyrctl.generation.sampling import Sampling
from zephyrctl.registry import did_you_mean

_FENCE = '"""'


@dataclass
class _Totals:
    """What /stats adds up."""

    replies: int = 0
    tokens: int = 0
    seconds: float = 0.0
    last: str = "no reply yet"


@dataclass
class Repl:
    """A conversation at a terminal. `read` returns the next line and raises EOFError at the end."""

    talker: Talker
    sampling: Sampling
    session: Session
    read: Callable[[str], str]
    totals: _Totals = field(default_factory=_Totals)
    left: bool = False

    def run(self) -> None:
        """Read and answer until the user leaves."""
        self.greet()
        while not self.left:
            try:
                text = self.next_input()
                self.handle(text)
            except EOFError:
                terminal.say()
                return
            except KeyboardInterrupt:
                terminal.say("\n(Ctrl-D or /quit leaves)")
            except ZephyrctlError as error:
                terminal.say_error(error)

    def greet(self) -> None:
        """One line that says what answers here, and what should be known about it."""
        facts = " · ".join(value for _, value in self.talker.facts[1:3])
        terminal.say(f"{self.talker.name} · {facts} · /help")
        for text in self.talker.notices:
            terminal.say(f"! {text}")

    def next_input(self) -> str:
        """The next line, or several between lines with three quotation marks."""
        line = self.read("› ")
        if not line.lstrip().startswith(_FENCE):
            return line
        rest = line.lstrip().removeprefix(_FENCE)
        lines = [rest] if rest else []
        while not (lines and lines[-1].rstrip().endswith(_FENCE)):
            lines.append(self.read("… "))
        lines[-1] = lines[-1].rstrip().removesuffix(_FENCE)
        return "\n".join(lines).strip("\n")

    def handle(self, text: str) -> None:
        """Carry out a command, or ask the model; `//` begins a question with a slash."""
        if not text.strip():
            return
        if not text.startswith("/") or text.startswith("//"):
            self.session.ask(text.removeprefix("/") if text.startswith("//") else text)
            self.answer()
            return
        name, _, rest = text[1:].partition(" ")
        if name not in CHAT_COMMANDS:
            raise UsageError(
                f"unknown command /{name}{did_you_mean(name, CHAT_COMMANDS.names())}",
                hint="/help lists them; // begins a question with a slash",
            )
        CHAT_COMMANDS.load(name)(self, rest.strip())

    def answer(self) -> None:
        """Let the model reply to the newest question; Ctrl-C stops the reply and keeps it."""
        readable = self.session.readable(
            lambda messages: self.talker.count(messages) or 0,
            context=self.talker.context,
            reply_tokens=self.sampling.max_new_tokens,
        )
        if readable.left_out:
            terminal.say(
                f"(the context is full: the model no longer reads the first {readable.left_out} "
                "messages)"
            )
        shown = terminal.SafeStream()
        with _stopping() as stop:
            reply = self.talker.reply(readable.messages, sampling=self.sampling, stop=stop)
            broken_off = False
            try:
                for piece in reply:
                    terminal.out(shown.feed(piece), end="")
            except KeyboardInterrupt:
                broken_off = True
            finally:
                terminal.out(shown.close())
                completion = reply.completion
                self.session.reply(completion.text)
        self._count(completion.tokens, completion.seconds, readable.tokens)
        stopped = broken_off or stop()
        if stopped:
            terminal.say("(stopped; what came is kept, /undo takes it back)")
        elif not completion.stopped:
            terminal.say(f"(cut at {self.sampling.max_new_tokens} tokens: /set max_new_tokens)")
        if terminal.is_tty(sys.stderr):
            terminal.say(f"  {self.totals.last}")

    def _count(self, tokens: int, seconds: float, prompt_tokens: int | None) -> None:
        self.totals.replies += 1
        self.totals.tokens += tokens
        self.totals.seconds += seconds
        parts = [f"{tokens} tokens", f"{tokens / seconds:.1f} tokens/s" if seconds else ""]
        if prompt_tokens is not None and self.talker.context:
            parts.append(f"context {(prompt_tokens + tokens) / self.talker.context:.0%}")
        self.totals.last = " · ".join(part for part in parts if part)


@contextmanager
def _stopping() -> Iterator[Callable[[], bool]]:
    """While a reply comes, Ctrl-C asks it to stop; a second one breaks it off where it is."""
    asked = False

    def handler(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        del number, frame
        if asked:
            raise KeyboardInterrupt
        asked = True

    before = signal.signal(signal.SIGINT, handler)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)
