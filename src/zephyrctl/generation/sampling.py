"""How is an answer drawn, and what comes back?"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass

GREEDY_BELOW = 1e-4
"""Temperatures under this are greedy, as in FastChat's generation."""


@dataclass(frozen=True)
class Sampling:
    """Settings of decoding. `temperature` 0 is greedy, `top_k` 0 keeps every token."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    max_new_tokens: int = 128
    seed: int = 0

    @property
    def is_greedy(self) -> bool:
        """Whether the most probable token is taken at each step."""
        return self.temperature < GREEDY_BELOW

    def to_json(self) -> dict[str, float | int]:
        """What decides an answer: for greedy decoding only its length."""
        if self.is_greedy:
            return {"temperature": 0.0, "max_new_tokens": self.max_new_tokens}
        return asdict(self)

    def seed_for(self, prompt_ids: Sequence[int]) -> int:
        """64 bits that depend on the seed and the prompt alone, so that an answer is the same in
        any batch, in any order, and after a restart."""
        text = f"{self.seed}:{','.join(map(str, prompt_ids))}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")

    def draws(self, prompt_ids: Sequence[int]) -> random.Random:
        """The uniform draws of one answer."""
        return random.Random(self.seed_for(prompt_ids))


@dataclass(frozen=True)
class Completion:
    """One answer.

    `text` has no special tokens and no white space round it. `tokens` counts what was generated,
    the stop token included. `stopped` is true where the model ended the answer itself, false
    where a limit did or a service says otherwise: `ended_by` is then its word (`content_filter`,
    `tool_calls`, `unknown`). `seconds` runs from this answer's start, beside others, to its end.
    `problem` tells why there is no answer; None where there is one. `cached` counts the prompt's
    tokens that were kept from the turn before and not read again; `first_s` is how long the first
    token took from the question on, None where it was not timed.
    """

    text: str
    tokens: int
    prompt_tokens: int
    stopped: bool
    seconds: float
    problem: str | None = None
    cached: int = 0
    first_s: float | None = None
    ended_by: str | None = None

    @property
    def finish_reason(self) -> str:
        """As in OpenAI's API: `stop` where the model ended the answer, `length` where a limit did,
        or else what the service said."""
        return self.ended_by or ("stop" if self.stopped else "length")
