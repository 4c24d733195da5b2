"""What happens at the prompt of `zephyrctl chat`?

Replies go to stdout, everything else to stderr. The model's text is foreign: control characters
and escape sequences are taken out of it before it is shown, never out of what the model reads.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

from pydantic import ValidationError

from zephyrctl import terminal
from zephyrctl.chat.session import Session, load, save
from zephyrctl.chat.talker import Talker
from zephyrctl.config.schema.chat import Chat
from zephyrctl.errors import UsageError, ZephyrctlError
from zephyrctl.generation.sampling import Sampling
from zephyrctl.registry import did_you_mean

_FENCE = '"""'
SETTINGS = ("temperature", "top_p", "top_k", "max_new_tokens", "seed")


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
        command = COMMANDS.get(name.strip())
        if command is None:
            raise UsageError(
                f"unknown command /{name}{did_you_mean(name, COMMANDS)}",
                hint="/help lists them; // begins a question with a slash",
            )
        command[1](self, rest.strip())

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


def _help(repl: Repl, rest: str) -> None:
    del repl, rest
    for name, (summary, _) in COMMANDS.items():
        terminal.say(f"  /{name:<9} {summary}")
    terminal.say('  """        begins and ends a question of several lines')
    terminal.say("  Ctrl-C     stops a reply and keeps it")


def _new(repl: Repl, rest: str) -> None:
    del rest
    repl.session.clear()
    terminal.say("(a new conversation; the system prompt stays)")


def _system(repl: Repl, rest: str) -> None:
    if rest:
        repl.session.system = None if rest == "-" else rest
    terminal.say(f"system: {repl.session.system or '(none)'}")


def _set(repl: Repl, rest: str) -> None:
    name, _, value = rest.replace("=", " ").partition(" ")
    if not rest:
        for known in SETTINGS:
            terminal.say(f"  {known} {getattr(repl.sampling, known)}")
        return
    repl.sampling = changed(repl.sampling, name, value.strip())
    terminal.say(f"{name} {getattr(repl.sampling, name)}")


def changed(sampling: Sampling, name: str, value: str) -> Sampling:
    """`sampling` with one setting read from text, held to the bounds of the configuration."""
    if name not in SETTINGS:
        raise UsageError(
            f"unknown setting '{name}'{did_you_mean(name, SETTINGS)}",
            hint=f"known: {', '.join(SETTINGS)}",
        )
    if name == "seed":
        if not value.isdigit():
            raise UsageError(f"seed takes a whole number, not '{value}'")
        return replace(sampling, seed=int(value))
    try:
        parsed = Chat.model_validate({name: value}, strict=False)
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"]
        raise UsageError(f"{name}: {reason[:1].lower()}{reason[1:]}") from None
    return replace(sampling, **{name: getattr(parsed, name)})


def _status(repl: Repl, rest: str) -> None:
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


def _history(repl: Repl, rest: str) -> None:
    del rest
    for message in repl.session.messages:
        terminal.say(f"[{message.role}]")
        terminal.say(message.content)


def _regen(repl: Repl, rest: str) -> None:
    del rest
    if not repl.session.take_back_reply():
        raise UsageError("there is no question to answer again")
    repl.sampling = replace(repl.sampling, seed=repl.sampling.seed + 1)
    if repl.sampling.is_greedy:
        terminal.say("(temperature is 0: the same answer comes again)")
    repl.answer()


def _undo(repl: Repl, rest: str) -> None:
    del rest
    question = repl.session.undo()
    if question is None:
        raise UsageError("there is nothing to undo")
    terminal.say(f"(taken back: {question[:60]})")


def _save(repl: Repl, rest: str) -> None:
    if not rest:
        raise UsageError("save where?", hint="/save chat.jsonl")
    save(repl.session, Path(rest).expanduser())
    terminal.say(f"(saved to {rest}, one row of `messages`)")


def _load(repl: Repl, rest: str) -> None:
    if not rest:
        raise UsageError("load what?", hint="/load chat.jsonl")
    repl.session = load(Path(rest).expanduser())
    terminal.say(f"({len(repl.session.turns)} messages; /history shows them)")


def _stats(repl: Repl, rest: str) -> None:
    del rest
    totals = repl.totals
    rate = f", {totals.tokens / totals.seconds:.1f} tokens/s" if totals.seconds else ""
    terminal.say(f"last: {totals.last}")
    terminal.say(f"all:  {totals.tokens} tokens in {totals.replies} replies{rate}")


def _template(repl: Repl, rest: str) -> None:
    del rest
    messages = repl.session.messages
    if not messages or messages[-1].role != "user":
        probe = Session(repl.session.system, list(repl.session.turns))
        probe.ask("(your next question)")
        messages = probe.messages
    terminal.say(repl.talker.rendered(messages))


def _quit(repl: Repl, rest: str) -> None:
    del rest
    repl.left = True


COMMANDS: dict[str, tuple[str, Callable[[Repl, str], None]]] = {
    "help": ("this list", _help),
    "new": ("begin a new conversation", _new),
    "system": ("show the system prompt, or set it (`-` removes it)", _system),
    "set": ("show the settings, or change one: /set temperature 0.2", _set),
    "status": ("model, template, settings, context", _status),
    "history": ("the conversation so far", _history),
    "regen": ("answer the last question again", _regen),
    "undo": ("take the last question and its reply back", _undo),
    "save": ("write the conversation to a JSONL file", _save),
    "load": ("read a conversation from a file", _load),
    "template": ("the next prompt exactly as the model reads it", _template),
    "stats": ("tokens and speed", _stats),
    "quit": ("leave", _quit),
}


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
