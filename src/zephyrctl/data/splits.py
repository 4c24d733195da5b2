"""Which split does a row belong to, and do the splits share anything?

Rows are compared by what the user says, in normalized words: two rows that ask the same are never
on both sides, whatever the answers are. Without an official test split the side follows from a
hash of these words, so that adding rows moves no row.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from zephyrctl.data.messages import Dialogue, Message, Record
from zephyrctl.data.text import digest, draw, normalized


def prompt_messages(record: Record) -> tuple[Message, ...]:
    """What was said before the answer that is trained."""
    return record.messages[:-1] if isinstance(record, Dialogue) else record.prompt


def user_texts(record: Record) -> list[str]:
    """What the user says, turn by turn."""
    return [m.content for m in prompt_messages(record) if m.role == "user"]


def split_key(record: Record) -> bytes:
    """16 bytes that stand for what the user says."""
    return digest(*(normalized(text) for text in user_texts(record)))


def is_held_out(key: bytes, *, test_size: float, seed: int) -> bool:
    """Whether a row with this key is held out; about `test_size` of all keys are."""
    return draw(seed, "split", key) < test_size * 2**64


def working_test_size(keys: Iterable[bytes], *, aim: float, seed: int) -> float | None:
    """The share nearest to `aim` with which rows of these keys stand on both sides, at as few
    decimals as there are; None for fewer than two different keys, which no share parts."""
    draws = sorted({draw(seed, "split", key) / 2**64 for key in keys})
    if len(draws) < 2:
        return None
    least, most = draws[0], draws[-1]  # the share has to be over `least`, and at most `most`
    for decimals in range(1, 16):
        step = 10**decimals
        low, high = math.floor(least * step) + 1, math.floor(most * step)
        if low <= high:
            return min(max(round(aim * step), low), high) / step
    return None
