"""What did the judge decide? Read a rating or a winner from a judgment's text or probabilities."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from zephyrctl.evaluation.judges.contract import JudgeReply, JudgeRequest

Winner = Literal["A", "B", "tie"]

# FastChat, fastchat/llm_judge/common.py: the double brackets first, a single pair as fallback.
_RATING = re.compile(r"\[\[(\d+\.?\d*)\]\]")
_RATING_FALLBACK = re.compile(r"\[(\d+\.?\d*)\]")

# A rating that was not found, as FastChat writes it into its files.
UNPARSED = -1

RATINGS = tuple(str(rating) for rating in range(1, 11))
RATING_SCALE = (1.0, 10.0)
WINNERS = ("A", "B", "C")
"""The verdicts on a pair as a judge writes them; C is a tie."""

_TOP_LOGPROBS = 20
"""As many as OpenAI's service gives."""
_OPTION_TOKENS = 16
_ENOUGH_MASS = 0.5
"""Less probability than this on the options together: the reply did not begin with a verdict."""
_WORD_STARTS = " \t\n▁Ġ"
"""How tokenizers mark that a token begins a word."""


def parse_rating(judgment: str) -> int | float | None:
    """The first `[[number]]`, else the first `[number]`, else None.

    Not range-checked, so that upstream's arithmetic can be repeated; see `read_rating`.
    """
    match = _RATING.search(judgment) or _RATING_FALLBACK.search(judgment)
    if match is None:
        return None
    number = float(match[1])
    return int(number) if number.is_integer() and "." not in match[1] else number


def read_rating(judgment: str) -> int | float | None:
    """`parse_rating` where it is one that the judge was asked for, 1 to 10; else None."""
    rating = parse_rating(judgment)
    return rating if in_range(rating) else None


def by_fallback(judgment: str) -> bool:
    """Whether a rating stands in single brackets only, so that it could be a citation or code."""
    return _RATING.search(judgment) is None and _RATING_FALLBACK.search(judgment) is not None


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


def bare_option(judgment: str, options: Sequence[str]) -> str | None:
    """The option that is all a judgment says, brackets and full stop aside; else None."""
    said = judgment.strip().strip("[]().* ")
    return said if said in options else None


def with_options(request: JudgeRequest, options: tuple[str, ...], line: str) -> JudgeRequest:
    """`request` as a choice between options in the first token; `line` asks for nothing else."""
    return replace(
        request,
        user=f"{request.user}\n\n{line}",
        options=options,
        top_logprobs=_TOP_LOGPROBS,
        max_tokens=_OPTION_TOKENS,
    )


def probabilities(reply: JudgeReply, options: Sequence[str]) -> dict[str, float] | None:
    """What the judge gives each option, adding up to 1; None where its reply does not say.

    A tokenizer without a token for `10` writes it as `1` and `0`. The probability of a first token
    `1` is then that of the number which the text begins with, where that is one of the two, and is
    left out where it is not.
    """
    if reply.logprobs is None:
        return None
    masses = _masses(reply.logprobs, options)
    if "10" in options and "10" not in masses and "1" in masses:
        shared = masses.pop("1")
        begun = re.match(r"\W*(10?)(?!\d)", reply.text)
        if begun is not None:
            masses[begun[1]] = shared
    total = sum(masses.values())
    if total < _ENOUGH_MASS:
        return None
    return {option: masses.get(option, 0.0) / total for option in options}


def expected_rating(chances: Mapping[str, float]) -> float:
    """The mean of the ratings under their probabilities."""
    return sum(int(rating) * chance for rating, chance in chances.items())


def _masses(logprobs: Mapping[str, float], options: Sequence[str]) -> dict[str, float]:
    """The probability of each option that is among the tokens, however its word start is marked."""
    masses: dict[str, float] = {}
    for token, logprob in logprobs.items():
        option = token.strip(_WORD_STARTS)
        if option in options:
            masses[option] = masses.get(option, 0.0) + math.exp(logprob)
    return masses
