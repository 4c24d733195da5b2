"""Who answers from now on?"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from zephyrctl import terminal
from zephyrctl.chat.wrapping import say_wrapped
from zephyrctl.data.messages import Message
from zephyrctl.errors import UsageError
from zephyrctl.generation.sampling import Completion, Sampling

if TYPE_CHECKING:
    from zephyrctl.chat.repl import Repl
    from zephyrctl.chat.talker import Reply


def model(repl: Repl, rest: str) -> None:
    """Show who answers, or go on with another model: /model @sft.

    The conversation, the system prompt and the settings stay. The model before is freed once the
    other one is there; where both do not fit in memory it is freed first, and opened again where
    the other one cannot be opened.
    """
    if not rest:
        terminal.say(f"model: {repl.talker.name} ({repl.talker.ref_name})")
        return
    if repl.comparison is not None:
        raise UsageError("several models are compared", hint="/compare off, then /model REF")
    repl.check(rest)
    fit = None if repl.seating is None else repl.seating.fit(rest)
    if fit is None or fit.together:
        before = repl.talker
        repl.talker = repl.opener(rest)
        before.close()
    else:
        say_wrapped(
            f"(both models do not fit in memory: {fit}; so {repl.talker.name} is freed first)"
        )
        _exchange(repl, rest)
    repl.forget_reading()
    repl.greet()
    if repl.session.turns:
        terminal.say(f"(the conversation of {len(repl.session.turns)} messages goes on)")


def _exchange(repl: Repl, ref: str) -> None:
    """Free the model before the other one is opened; open it again where that cannot be."""
    before = repl.talker
    repl.talker = NoModel()
    before.close()
    try:
        repl.talker = repl.opener(ref)
    except (Exception, KeyboardInterrupt):  # also a fault of a library: the one before is closed
        terminal.say(f"({before.name} is opened again)")
        repl.talker = repl.opener(before.ref_name)
        raise


class NoModel:
    """What is left where one model could not be opened, and the one before not again either."""

    name = "no model"
    ref_name = ""
    weight_bytes: int | None = 0
    context: int | None = None
    template_sha256: str | None = None

    def __init__(self) -> None:
        self.facts: list[tuple[str, str]] = []
        self.notices: list[str] = []

    def count(self, messages: list[Message]) -> None:
        """See `Talker`."""
        del messages

    def reply(
        self, messages: list[Message], *, sampling: Sampling, stop: Callable[[], bool]
    ) -> Reply:
        """See `Talker`."""
        del messages, sampling, stop
        _refuse()

    def answer(self, messages: list[Message], *, sampling: Sampling) -> Completion:
        """See `Talker`."""
        del messages, sampling
        _refuse()

    def rendered(self, messages: list[Message]) -> str:
        """See `Talker`."""
        del messages
        _refuse()

    def close(self) -> None:
        """See `Talker`."""


def _refuse() -> NoReturn:
    raise UsageError("no model is open", hint="/model REF   (/save FILE keeps the conversation)")
