"""What has the judge cost, and may the next request still be sent?

A request is reserved before it is sent, at the most it can cost: one token for each byte of its
prompt, and as many as a reply may have. Its reply settles it at the service's own counts. What is
spent and what is under way together never pass the limit, so the limit holds whatever comes back;
the price of that is a small rest at the end which cannot be spent. Money is kept as whole tokens,
so that no sum drifts. A try that the service answered with an error costs nothing; one whose reply
was lost on the way (a timeout, a broken connection or answer) may be billed, and counts against the
limit at the most it can have cost.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from math import ceil
from typing import Any, Protocol, runtime_checkable

from zephyrctl.config.schema import Recipe
from zephyrctl.errors import StoppedEarly, UsageError
from zephyrctl.evaluation.judges.contract import JudgeReply, JudgeRequest
from zephyrctl.evaluation.prices import Price, price_of
from zephyrctl.evaluation.token_counts import prompt_about, prompt_at_most

TYPICAL_COMPLETION = 170
"""Tokens of a judgment in words: the mean of 1,440 by GPT-4 on MT-Bench is 166 (o200k_base); nine
in ten have 71 to 417. Judges that reason at length need many times as many."""

_current: ContextVar[Meter | None] = ContextVar("meter", default=None)


@runtime_checkable
class Paid(Protocol):
    """A judge whose requests cost money."""

    meter: Meter | None


class Meter:
    """Counts a command's requests to one judge; safe for threads and tasks.

    `max_tokens` is the longest reply to a request that names no length of its own. Without
    `max_cost` nothing is refused. Without a price only tokens are counted, and a limit refuses the
    first request with a UsageError.
    """

    def __init__(self, price: Price | None, *, max_cost: float | None, max_tokens: int) -> None:
        self.price = price
        self.max_cost = max_cost
        self.calls = 0
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self._max_tokens = max_tokens
        self.lost_tries = 0
        self._lost = (0, 0)
        self._reserved = (0, 0)
        self._lock = threading.Lock()

    @property
    def spent_usd(self) -> float | None:
        """What was settled so far; None without a price."""
        return self.price and self.price.usd(self.prompt_tokens, self.completion_tokens)

    def most(self, request: JudgeRequest) -> tuple[int, int]:
        """Prompt and completion tokens that `request` cannot exceed."""
        return prompt_at_most(request.messages), request.max_tokens or self._max_tokens

    def reserve(self, request: JudgeRequest) -> None:
        """Set aside what `request` may cost; StoppedEarly where that could pass the limit."""
        prompt, completion = self.most(request)
        with self._lock:
            reserved = (self._reserved[0] + prompt, self._reserved[1] + completion)
            if not self._fits(*reserved):
                raise self._stopped(request)
            self._reserved = reserved

    def settle(self, request: JudgeRequest, reply: JudgeReply) -> None:
        """Count what `request` did cost; where the service counted nothing, all it might have."""
        prompt, completion = self.most(request)
        counted = reply.prompt_tokens or reply.completion_tokens
        with self._lock:
            self._reserved = (
                max(0, self._reserved[0] - prompt),
                max(0, self._reserved[1] - completion),
            )
            self.calls += 1
            self.prompt_tokens += reply.prompt_tokens if counted else prompt
            self.completion_tokens += reply.completion_tokens if counted else completion

    def lose(self, request: JudgeRequest) -> None:
        """Count a try whose reply was lost; StoppedEarly where another one could pass the limit."""
        prompt, completion = self.most(request)
        with self._lock:
            self.lost_tries += 1
            self._lost = (self._lost[0] + prompt, self._lost[1] + completion)
            if not self._fits(*self._reserved):
                raise self._stopped(request)

    def affordable(self, requests: Sequence[JudgeRequest]) -> int:
        """How many of the next requests can all be sent, whatever they come to."""
        with self._lock:
            prompt, completion = self._reserved
            for count, request in enumerate(requests):
                more = self.most(request)
                prompt, completion = prompt + more[0], completion + more[1]
                if not self._fits(prompt, completion):
                    return count
        return len(requests)

    def stopped(self, left: Sequence[JudgeRequest], *, stands: int) -> StoppedEarly:
        """The error of a limit that leaves requests unasked."""
        with self._lock:
            return self._stopped(left[0], left=left, stands=stands)

    def to_json(self) -> dict[str, Any]:
        """What it came to, for the stage's metrics; nothing where nobody was asked."""
        if not self.calls:
            return {}
        return {
            "judge.calls": self.calls,
            "judge.prompt_tokens": self.prompt_tokens,
            "judge.completion_tokens": self.completion_tokens,
            "judge.usd": self.spent_usd,
            "judge.lost_tries": self.lost_tries,
        }

    @property
    def line(self) -> str | None:
        """What it came to, in words; None where nobody was asked."""
        if not self.calls:
            return None
        cost = self.spent_usd
        paid = "at an unknown price" if cost is None else f"for {dollars(cost)}"
        return (
            f"the judge answered {self.calls:,} requests {paid} ({self.prompt_tokens:,} prompt "
            f"and {self.completion_tokens:,} completion tokens){self._lost_words}"
        )

    @property
    def _lost_words(self) -> str:
        if not self.lost_tries:
            return ""
        may = "" if self.price is None else f", up to {dollars(self.price.usd(*self._lost))} more"
        tries = "1 try" if self.lost_tries == 1 else f"{self.lost_tries:,} tries"
        return f"; {tries} whose reply was lost may be billed too{may}"

    def _fits(self, prompt: int, completion: int) -> bool:
        """Whether so many reserved tokens and those spent stay within the limit."""
        if self.max_cost is None:
            return True
        if self.price is None:
            raise unknown_price("the judge")
        lost = self._lost
        most = self.price.usd(
            self.prompt_tokens + prompt + lost[0], self.completion_tokens + completion + lost[1]
        )
        return most <= self.max_cost

    def _stopped(
        self, request: JudgeRequest, *, left: Sequence[JudgeRequest] = (), stands: int | None = None
    ) -> StoppedEarly:
        assert self.price is not None
        assert self.max_cost is not None
        next_one = self.price.usd(*self.most(request))
        rest = [(prompt_about(each.messages), self._typical(each)) for each in left or [request]]
        needed = self.price.usd(sum(prompt for prompt, _ in rest), sum(reply for _, reply in rest))
        where = f"{len(left)} requests are left" if left else None
        if stands is not None:
            where = f"{stands} judgments stand, {where}"
        return StoppedEarly(
            f"the judge cost {dollars(self.spent_usd or 0.0)} of at most "
            f"{dollars(self.max_cost)}, and the next request could cost {dollars(next_one)}",
            where=where,
            hint="the same command goes on from here with "
            f"--max-cost {_round_up(1.25 * needed + next_one):g} (each command has its own limit)",
        )

    def _typical(self, request: JudgeRequest) -> float:
        """Completion tokens as they came so far, else as they usually come."""
        mean = self.completion_tokens / self.calls if self.calls else TYPICAL_COMPLETION
        return min(mean, request.max_tokens or self._max_tokens)


@contextmanager
def metered(recipe: Recipe) -> Iterator[Meter]:
    """One meter for all judges that are opened within: `eval.max_cost` is for a whole command."""
    judge = recipe.eval.judge
    price = price_of(recipe) if judge.spec is not None else None
    meter = Meter(price, max_cost=recipe.eval.max_cost, max_tokens=judge.max_tokens)
    token = _current.set(meter)
    try:
        yield meter
    finally:
        _current.reset(token)


def current_meter() -> Meter | None:
    """The meter of the command that is under way."""
    return _current.get()


def unknown_price(judge: str) -> UsageError:
    """Why a limit in dollars cannot be kept."""
    return UsageError(
        f"--max-cost cannot be kept: the price of {judge} is not known; say it in USD for a "
        "million tokens",
        where="eval.max_cost",
        hint="--set eval.judge.prompt_price=2.5 --set eval.judge.completion_price=10",
    )


def dollars(amount: float) -> str:
    """`$4.10`; small sums with two digits that count, `$0.0031`."""
    if amount == 0 or amount >= 0.1:
        return f"${amount:,.2f}"
    return f"${amount:.2g}" if amount >= 1e-4 else "less than $0.0001"


def _round_up(amount: float) -> float:
    """Up to two digits that count."""
    step = 1.0
    while amount / step < 10:
        step /= 10
    while amount / step >= 100:
        step *= 10
    return ceil(amount / step) * step
