"""What is a message, a dialogue and a preference pair, and when is one of them broken?

A broken row raises DataError with a message that names the kind of damage and nothing of the row,
so that data preparation can count rows by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zephyrctl.errors import DataError

ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: str

    def to_json(self) -> dict[str, str]:
        """The OpenAI and Hugging Face form."""
        return {"role": self.role, "content": self.content}


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A conversation that ends with the assistant. `source` names the data set it came from."""

    messages: tuple[Message, ...]
    id: str
    source: str


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """One prompt with a preferred and a dispreferred completion.

    `prompt` ends with a user turn; `chosen` and `rejected` hold what follows it, most often one
    assistant turn each. Scores are None where the data set has none.
    """

    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    id: str
    source: str
    chosen_score: float | None = None
    rejected_score: float | None = None


Record = Dialogue | PreferencePair


def to_json(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Messages in the form that chat templates and JSON files take."""
    return [message.to_json() for message in messages]


def check_dialogue(messages: Sequence[Message]) -> None:
    """Refuse roles out of order and a conversation that does not end with the assistant."""
    check_order(messages)
    if messages[-1].role != "assistant":
        raise DataError("the last turn is not the assistant's")


def check_prompt(messages: Sequence[Message]) -> None:
    """Refuse roles out of order and a prompt that does not end with the user."""
    check_order(messages)
    if messages[-1].role != "user":
        raise DataError("the prompt does not end with a user turn")


def check_pair(pair: PreferencePair) -> None:
    """Refuse a pair whose turns are out of order or whose completions are the same."""
    check_prompt(pair.prompt)
    for name, completion in (("chosen", pair.chosen), ("rejected", pair.rejected)):
        if not completion:
            raise DataError(f"{name} is missing")
        check_dialogue((*pair.prompt, *completion))
    if pair.chosen == pair.rejected:
        raise DataError("chosen and rejected are the same")


def check_order(messages: Sequence[Message]) -> None:
    """Refuse anything but: one system turn or none, then user and assistant in turn."""
    if not messages:
        raise DataError("the conversation has no messages")
    for message in messages:
        if message.role not in ROLES:
            raise DataError("unknown role")
    turns = messages[1:] if messages[0].role == "system" else messages
    if not turns:
        raise DataError("the conversation has no user turn")
    for position, message in enumerate(turns):
        expected = ("user", "assistant")[position % 2]
        if message.role == expected:
            continue
        if message.role == "system":
            raise DataError("a system turn after the first turn")
        if position == 0:
            raise DataError("the assistant speaks first")
        raise DataError(f"two {message.role} turns in a row")
