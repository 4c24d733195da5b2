"""Which conversation is a model asked to go on with?"""

from __future__ import annotations

from collections.abc import Sequence

from zephyrctl.data.messages import Message


def next_prompt(
    turns: Sequence[str], replies: Sequence[str], *, system: str | None = None
) -> list[Message]:
    """The prompt of the turn after `replies`, the model's own to the turns before."""
    messages = [] if system is None else [Message("system", system)]
    for turn, reply in zip(turns, replies, strict=False):
        messages += [Message("user", turn), Message("assistant", reply)]
    return [*messages, Message("user", turns[len(replies)])]
