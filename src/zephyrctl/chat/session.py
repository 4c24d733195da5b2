"""What has been said in a chat, and what of it does the model read next?

When the conversation grows longer than the model's context, the oldest exchanges are left out of
what the model reads; the system prompt and the newest question always stay. Nothing is forgotten
in the session itself.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from zephyrctl.data.messages import Message, to_json
from zephyrctl.errors import DataError, UsageError

Count = Callable[[list[Message]], int | None]

RULE = (
    "when it is full, the model no longer reads the oldest exchanges; the system prompt and the "
    "newest question always stay"
)
RULE_ELSEWHERE = (
    "every question is sent with the whole conversation; when that is too long, the service "
    "refuses it or cuts it by its own rule, and /undo or /new makes room"
)
"""What is said of the context, where tokens are counted here and where they are not."""


@dataclass(frozen=True)
class Readable:
    """What the model is given: `messages` without the `left_out` oldest ones."""

    messages: list[Message]
    left_out: int
    tokens: int | None
    """Length of the prompt, None where it cannot be counted (an endpoint)."""


@dataclass
class Session:
    """A conversation; `turns` are user and assistant messages in turn."""

    system: str | None = None
    turns: list[Message] = field(default_factory=list)

    @property
    def messages(self) -> list[Message]:
        """Everything, the system prompt first."""
        head = [] if self.system is None else [Message("system", self.system)]
        return [*head, *self.turns]

    @property
    def last_question(self) -> str | None:
        """The newest turn of the user, None where there is none."""
        return next((turn.content for turn in reversed(self.turns) if turn.role == "user"), None)

    @property
    def last_reply(self) -> str | None:
        """The newest turn of the model, None where there is none."""
        return next(
            (turn.content for turn in reversed(self.turns) if turn.role == "assistant"), None
        )

    @property
    def waits(self) -> bool:
        """Whether the newest turn is a question without an answer."""
        return bool(self.turns) and self.turns[-1].role == "user"

    def ask(self, text: str) -> None:
        """Add the user's turn. One that was never answered is joined with it; UsageError for text
        that is not UTF-8."""
        check_text(text)
        if self.waits:
            last = self.turns.pop()
            text = f"{last.content}\n\n{text}"
        self.turns.append(Message("user", text))

    def reply(self, text: str) -> None:
        """Add the model's turn; an empty one (broken off at once) is not kept."""
        if text:
            self.turns.append(Message("assistant", text))

    def take_back_reply(self) -> bool:
        """Remove the last reply, so that its question can be answered anew; false without one."""
        if self.turns and self.turns[-1].role == "assistant":
            self.turns.pop()
        return bool(self.turns)

    def undo(self) -> str | None:
        """Remove the last question with its reply; returns the question, None where none is."""
        self.take_back_reply()
        return self.turns.pop().content if self.turns else None

    def clear(self) -> None:
        """Begin anew; the system prompt stays."""
        self.turns.clear()

    def readable(self, count: Count, *, context: int | None, reply_tokens: int) -> Readable:
        """What fits the model together with a reply of `reply_tokens`; see the module's text.

        `count` is the length in tokens of a prompt; where it is None, and where the `context` is
        not known, all is read. DataError where the newest question alone leaves no room for a
        reply.
        """
        whole = None if context is None else count(self.messages)
        if context is None or whole is None:
            return Readable(self.messages, 0, None)
        room = min(reply_tokens, context // 2)
        starts = range(0, len(self.turns), 2)  # where a question stands
        lengths = {0: whole}

        def fits(start: int) -> bool:
            lengths[start] = count(self._from(start)) or 0
            return lengths[start] + room <= context

        start = 0
        if whole + room > context:
            # A later start is a shorter prompt: a search in halves, as each count reads all of it.
            last = len(starts) - 1
            start = starts[bisect_left(starts, True, lo=min(1, last), hi=last, key=fits)]
        tokens = lengths[start] if start in lengths else count(self._from(start)) or 0
        if tokens + room > context and tokens >= context:
            raise DataError(
                f"the question has {tokens} tokens with its template, and the model reads "
                f"{context}",
                hint="/undo, then ask a shorter one",
            )
        return Readable(self._from(start), start, tokens)

    def _from(self, start: int) -> list[Message]:
        """The system prompt, and the turns from `start` on."""
        return replace(self, turns=self.turns[start:]).messages

    def to_json(self) -> dict[str, list[dict[str, str]]]:
        """One row in the form of SFT data."""
        return {"messages": to_json(self.messages)}


def check_text(text: str) -> None:
    """Refuse what no tokenizer reads: half of a character, as bytes become that are not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"the text is not UTF-8 at character {error.start + 1}") from None
