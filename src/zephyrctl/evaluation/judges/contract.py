"""What is a judge given, and what does it give back?

A judge answers requests with texts, and where it can with the probabilities of the first token;
what they mean is for the benchmark that asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from zephyrctl.data.messages import Message


@dataclass(frozen=True)
class JudgeRequest:
    """One question put to a judge.

    `models` names whose answers are judged: one model, or the two of a pair in the pair's own
    order. `order` is 0 for a single rating; of a pair, 1 shows the first model first, 2 shows it
    second. `sample` counts repeats from 0. `options` are the possible verdicts as the judge would
    write them, such as `("m", "M")`; empty where the verdict stands in free text. `top_logprobs`
    is how many log-probabilities of the first token are wanted, 0 for none.
    """

    question_id: int | str
    turn: int
    prompt_name: str
    system: str
    user: str
    models: tuple[str, ...] = ()
    order: int = 0
    sample: int = 0
    options: tuple[str, ...] = ()
    max_tokens: int | None = None
    """Longest judgment in tokens; None leaves it to `eval.judge.max_tokens`."""
    temperature: float = 0.0
    top_logprobs: int = 0

    @property
    def messages(self) -> list[Message]:
        """The conversation the judge is given; no system turn where there are no words for it."""
        system = [Message("system", self.system)] if self.system else []
        return [*system, Message("user", self.user)]

    def to_json(self) -> dict[str, Any]:
        """What decides the judgment, beside the judge and the number of the repeat."""
        return {
            "system": self.system,
            "user": self.user,
            "options": list(self.options),
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "top_logprobs": self.top_logprobs,
        }


@dataclass(frozen=True)
class JudgeReply:
    """What a judge said.

    `logprobs` holds natural log-probabilities by token, of the first token (or of `options`);
    None where the judge gave none. Tokens are those the service counted, 0 where nobody did.
    """

    text: str
    logprobs: Mapping[str, float] | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    finish_reason: str = "stop"


OnReply = Callable[[int, JudgeReply], None]


class Judge(Protocol):
    """Something that answers judge requests."""

    name: str
    """How the judge is called in every score it gives."""
    identity: Mapping[str, Any]
    """What decides its judgments, beside the request."""
    is_deterministic: bool
    """Whether the same request always gets the same reply, so that repeats need not be asked."""

    @property
    def notices(self) -> Sequence[str]:
        """What was found out about the judge so far that its scores must not be read without."""
        ...

    def decide(self, requests: Sequence[JudgeRequest], *, on_reply: OnReply) -> None:
        """Judge all requests; `on_reply(index, reply)` is called as each one is answered, in any
        order, so that nothing is lost when a later one fails."""
        ...

    def close(self) -> None:
        """Free what the judge holds."""
        ...
