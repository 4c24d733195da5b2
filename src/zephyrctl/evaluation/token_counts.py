"""How many tokens does a text have: about, and at most?

Each service counts with its own tokenizer, and most of them publish none; the count is needed
before anything is sent. `about` is linear in what byte-pair tokenizers cut at. Its weights were
fitted to 1,600 MT-Bench judge prompts (the answers of ten models) and 1,440 judgments: over all
prompts it is within 1 % of cl100k_base (GPT-4), o200k_base (GPT-4o and later) and DeepSeek's
tokenizer, 5 % under Claude 2's and 7 % under SmolLM2's; nine in ten single prompts are within 6 %
of the first three. Characters / 4, for comparison: 12 % too many over all, and -19 to +36 % on
single prompts. Text in other languages than English is rougher: the tokenizers themselves differ
by up to a factor of three there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from zephyrctl.data.messages import Message

_PARTS: tuple[tuple[re.Pattern[str], float], ...] = (
    (re.compile(r"[A-Za-z]+"), 0.93),
    (re.compile(r"[A-Za-z]"), 0.024),
    (re.compile(r"[0-9]{1,3}"), 1.65),
    (re.compile(r"[^\w\s]"), 0.635),
    (re.compile(r"\n+"), 0.70),
    (re.compile(r"(?<=\n)[ \t]+"), 0.5),
    (re.compile(r"[\u00c0-\u024f]"), 0.9),  # accented Latin letters cut their word
    (re.compile(r"[\u0370-\u0dff]"), 0.45),  # Greek to Sinhala: alphabets of two and three bytes
    (re.compile(r"[\u0e00-\u1fff]"), 0.75),  # Thai and other scripts without spaces
    (re.compile(r"[\u2e80-\ud7ff\uf900-\ufaff]"), 0.9),  # Chinese, Japanese, Korean
)
# Role marks and separators of chat formats; a reply is opened by some more.
_PER_MESSAGE, _PER_REQUEST = 4, 3
_MOST_PER_MESSAGE = 32


def about(text: str) -> float:
    """The likely number of tokens."""
    return sum(weight * len(part.findall(text)) for part, weight in _PARTS)


def at_most(text: str) -> int:
    """A number of tokens that is not exceeded: every token of a byte-level (or byte-fallback)
    tokenizer stands for at least one byte of UTF-8."""
    return len(text.encode("utf-8", errors="surrogatepass"))


def prompt_about(messages: Sequence[Message]) -> float:
    """The likely number of tokens of a conversation, with what its format adds."""
    return sum(about(message.content) + _PER_MESSAGE for message in messages) + _PER_REQUEST


def prompt_at_most(messages: Sequence[Message]) -> int:
    """A number of tokens that a conversation does not exceed."""
    return sum(at_most(message.content) + _MOST_PER_MESSAGE for message in messages)
