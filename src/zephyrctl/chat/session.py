"""What has been said in a chat, and what of it does the model read next? (no I/O but save, load)

When the conversation grows longer than the model's context, the oldest exchanges are left out of
what the model reads; the system prompt and the newest question always stay. Nothing is forgotten
in the session itself.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from zephyrctl.data.messages import Message, check_order, to_json
from zephyrctl.errors import DataError, UsageError
from zephyrctl.runs.atomic import dumps, write_text

Count = Callable[[list[Message]], int]

RULE = (
    "when it is full, the model no longer reads the oldest exchanges; the system prompt and the "
    "newest question always stay"
)
"""What is said of the context."""


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

    def readable(self, count: Count | None, *, context: int | None, reply_tokens: int) -> Readable:
        """What fits the model together with a reply of `reply_tokens`; see the module's text.

        `count` is the length in tokens of a prompt. DataError where the newest question alone
        leaves no room for a reply.
        """
        if count is None or context is None:
            return Readable(self.messages, 0, None)
        room = min(reply_tokens, context // 2)
        starts = range(0, len(self.turns), 2)  # where a question stands
        lengths: dict[int, int] = {}

        def fits(start: int) -> bool:
            lengths[start] = count(self._from(start))
            return lengths[start] + room <= context

        start = 0
        if not fits(0):
            # A later start is a shorter prompt: a search in halves, as each count reads all of it.
            last = len(starts) - 1
            start = starts[bisect_left(starts, True, lo=min(1, last), hi=last, key=fits)]
        tokens = lengths[start] if start in lengths else count(self._from(start))
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


def save(session: Session, path: Path) -> None:
    """Write the conversation as one JSONL row, ready as a source of SFT data; never over a file."""
    if not session.turns:
        raise UsageError("there is nothing to save yet")
    if path.exists():
        raise UsageError(f"{path} exists", hint="name another file")
    try:
        write_text(path, dumps(session.to_json()) + "\n")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None


def load(path: Path) -> Session:
    """The conversation of a file that `save` wrote, or of any row with `messages`: the last row.

    A conversation with tools is refused: the rest of a chat does not know how to go on with one.
    """
    try:
        if path.is_dir():
            raise UsageError(f"{path} is a folder", hint="/load FILE")
        if not path.is_file():
            raise UsageError(f"there is no file {path}")
        # Not splitlines, which also splits at U+2028 and U+0085: JSON lets them stand in a text.
        lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except ValueError:
        raise UsageError(f"cannot read {path}: it is not UTF-8 text") from None
    try:
        messages = [_message(row) for row in json.loads(lines[-1])["messages"]]
        check_order(messages)
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise DataError(
            "no conversation in the last row of the file",
            where=str(path),
            hint='a row is {"messages": [{"role": "user", "content": "…"}, …]}, as /save writes it',
        ) from error
    except (DataError, UsageError) as error:
        raise DataError(error.message, where=str(path)) from None
    if messages[0].role == "system":
        return Session(messages[0].content, messages[1:])
    return Session(None, messages)


def _message(row: Mapping[str, object]) -> Message:
    role, content = row["role"], row["content"]
    if row.get("tool_calls") or role == "tool":
        raise DataError("the conversation has tools, which a chat here has not")
    if not isinstance(role, str) or not isinstance(content, str):
        raise DataError("a message whose role or content is not text")
    check_text(content)
    return Message(role, content)
