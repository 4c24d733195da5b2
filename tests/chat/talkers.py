"""A talker that says what it is told to, and a chat in which lines are typed."""

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

from zephyrctl.chat.repl import Repl
from zephyrctl.chat.session import Session
from zephyrctl.chat.talker import Talker
from zephyrctl.data.messages import Message
from zephyrctl.errors import NetworkError
from zephyrctl.generation.sampling import Completion, Sampling

WARM = Sampling(0.7, max_new_tokens=20)


class Words:
    """A reply, word by word; the word `^C` is a person's Ctrl-C, `!` a service that fails, and `!!`
    a fault of a library. One that ends with `cut` was not ended by the model."""

    def __init__(self, text: str, stop: Callable[[], bool]) -> None:
        self.said: list[str] = []
        self._text, self._stop = text, stop

    def __iter__(self) -> Iterator[str]:
        for word in self._text.split(" "):
            if word == "!":
                raise NetworkError("the service does not answer")
            if word == "!!":
                raise RuntimeError("index out of range")
            if word == "^C":
                os.kill(os.getpid(), signal.SIGINT)
                continue
            self.said.append(word)
            yield word + " "
            if self._stop():
                return

    @property
    def completion(self) -> Completion:
        text = " ".join(self.said).strip()
        is_ended = text == self._text and not text.endswith(" cut")
        return Completion(text, len(self.said), 5, is_ended, 0.5)


class Scripted:
    """A talker that gives the scripted replies in turn and remembers what it read."""

    context: int | None = 60
    weight_bytes: int | None = 8
    template_sha256: str | None = None

    def __init__(self, *replies: str, name: str = "scripted") -> None:
        self.name, self.ref_name = name, f"runs/{name}"
        self.replies = list(replies)
        self.read: list[list[Message]] = []
        self.sampled: list[Sampling] = []
        self.facts = [("folder", "/models/x"), ("device", "cpu"), ("template", "zephyr 123")]
        self.notices = ["its template is another one"]
        self.is_closed = False

    def count(self, messages: list[Message]) -> int | None:
        return sum(len(message.content.split()) for message in messages)

    def reply(
        self, messages: list[Message], *, sampling: Sampling, stop: Callable[[], bool]
    ) -> Words:
        assert not self.is_closed
        self.read.append(messages)
        self.sampled.append(sampling)
        return Words(self.replies.pop(0), stop)

    def answer(self, messages: list[Message], *, sampling: Sampling) -> Completion:
        raise AssertionError("the chat streams")

    def rendered(self, messages: list[Message]) -> str:
        return "".join(f"<|{message.role}|>{message.content}" for message in messages)

    def close(self) -> None:
        self.is_closed = True


def chat(
    *lines: str,
    replies: tuple[str, ...] = (),
    system: str | None = None,
    talker: Talker | None = None,
    sampling: Sampling = WARM,
    **fields: Any,
) -> Repl:
    """Type the lines, then leave by Ctrl-D; the line `^C` is Ctrl-C at the prompt.

    Without a `talker`, one that gives the `replies` in turn; `fields` are those of `Repl`.
    """
    typed = iter(lines)

    def read(sign: str) -> str:
        del sign
        line = next(typed, None)
        if line is None:
            raise EOFError
        if line == "^C":
            raise KeyboardInterrupt
        return line

    repl = Repl(talker or Scripted(*replies), sampling, Session(system), read=read, **fields)
    repl.run()
    return repl


def scripted(repl: Repl) -> Scripted:
    """The talker of a chat."""
    assert isinstance(repl.talker, Scripted)
    return repl.talker


def said(repl: Repl) -> list[str]:
    """The texts of the conversation."""
    return [message.content for message in repl.session.messages]
