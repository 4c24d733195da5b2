"""What did the judge decide? Parse a judgment's text into a rating or a winner."""

from __future__ import annotations

import re
from typing import Literal

Winner = Literal["A", "B", "tie"]

# FastChat, fastchat/llm_judge/common.py: the double brackets first, a single pair as fallback.
_RATING = re.compile(r"\[\[(\d+\.?\d*)\]\]")
_RATING_FALLBACK = re.compile(r"\[(\d+\.?\d*)\]")

# A rating that was not found, as FastChat writes it into its files.
UNPARSED = -1


def parse_rating(judgment: str) -> int | float | None:
    """The first `[[number]]`, else the first `[number]`, else None.

    Not range-checked, so that upstream's arithmetic can be repeated; see `in_range`.
    """
    match = _RATING.search(judgment) or _RATING_FALLBACK.search(judgment)
    if match is None:
        return None
    number = float(match[1])
    return int(number) if number.is_integer() and "." not in match[1] else number


def in_range(rating: float | None) -> bool:
    """Whether a rating is one that the judge was asked for: 1 to 10."""
    return rating is not None and 1 <= rating <= 10


def parse_winner(judgment: str) -> Winner | None:
    """`[[A]]`, `[[B]]` or `[[C]]` (a tie), tested in this order anywhere in the text."""
    if "[[A]]" in judgment:
        return "A"
    if "[[B]]" in judgment:
        return "B"
    return "tie" if "[[C]]" in judgment else None
