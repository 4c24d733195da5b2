"""What is known of one answer under way?"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from zephyrctl.errors import ZephyrctlError
from zephyrctl.generation.sampling import Sampling


@dataclass(frozen=True)
class Score:
    """Natural log-probabilities where a token was chosen, by the model's own distribution: before
    temperature, top-p and penalties. `top` holds ids with theirs, the likeliest first."""

    logprob: float
    top: tuple[tuple[int, float], ...]


@dataclass
class Row:
    """One answer under way. `limit` is the largest number of new tokens, `cached` how many of the
    prompt's were kept from the last turn, `top_logprobs` how many likeliest tokens each score
    names; None wants no scores."""

    index: int
    prompt: list[int]
    limit: int
    sampling: Sampling
    top_logprobs: int | None = None
    tokens: list[int] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)
    """One for each token, where they are wanted."""
    stopped: bool = False
    is_left: bool = False
    """Nobody waits for it any more. Another thread may set it."""
    problem: ZephyrctlError | None = None
    """Why it cannot go on."""
    began: float | None = None
    seconds: float = 0.0
    cached: int = 0
    draws: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.rewind()

    @property
    def is_done(self) -> bool:
        """Whether no more tokens come."""
        return (
            self.stopped
            or self.is_left
            or self.problem is not None
            or len(self.tokens) >= self.limit
        )

    @property
    def ids(self) -> list[int]:
        """The prompt and what was answered so far."""
        return self.prompt + self.tokens

    @property
    def longest(self) -> int:
        """How many tokens it can come to, prompt included."""
        return len(self.prompt) + self.limit

    def rewind(self) -> None:
        """Let the draws stand where the tokens do; a pass that broke off may have taken one."""
        self.draws = self.sampling.draws(self.prompt)
        for _ in self.tokens:
            self.draws.random()
