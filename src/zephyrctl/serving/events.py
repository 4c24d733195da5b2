"""What happens to a request from its first token to its last?"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Literal, Protocol

from zephyrctl.errors import EnvironmentProblem
from zephyrctl.serving.protocol import ChatRequest


@dataclass(frozen=True)
class Scored:
    """The bytes of a token with its log-probability, and those of the likeliest tokens in its
    place."""

    token: bytes
    logprob: float
    top: tuple[tuple[bytes, float], ...]


Scores = tuple[Scored, ...]


@dataclass(frozen=True)
class Begun:
    """The first tokens are there: from here on the request is answered."""

    prompt_tokens: int


@dataclass(frozen=True)
class Piece:
    """Text of one choice, with the scores of its tokens where they were asked for."""

    choice: int
    text: str
    scores: Scores = ()


@dataclass(frozen=True)
class Ended:
    """One choice is complete. `tokens` were generated, the one that ended it included; `scores` are
    those of tokens whose text was never sent, which are white space."""

    choice: int
    reason: Literal["stop", "length"]
    tokens: int
    scores: Scores = ()


Event = Begun | Piece | Ended


class BrokenOff(EnvironmentProblem):
    """The server ended before the answer did, as its operator wished."""

    def __init__(self) -> None:
        super().__init__("the server ends, and broke this answer off")


class Answering(Protocol):
    """Whatever answers requests: weights in this process, or vLLM."""

    context: int | None
    """Tokens that the model reads, None where unknown."""

    def ask(self, request: ChatRequest) -> AsyncGenerator[Event]:
        """The events of an answer: Begun, then Pieces and one Ended per choice.

        Refusal comes before Begun where the request cannot be answered. Closing the iterator ends
        the work, also while it still waits in line.
        """
        ...

    def break_off(self) -> None:
        """End what is under way; whoever waits for it is told."""
        ...

    def close(self) -> None:
        """End what is under way, and let go of the model."""
        ...
