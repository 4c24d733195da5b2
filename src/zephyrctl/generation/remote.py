"""How are many requests put to one service, all answered in the end and none twice?

A request that fails is tried again within its own deadline. An error that concerns all requests
(a refused key, an unknown model, a service out of reach) cancels what is under way; one that
concerns a single request, or a limit of spending, lets those under way come in first, because they
are paid for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic, perf_counter
from typing import NoReturn

from zephyrctl.data.messages import Message
from zephyrctl.errors import CredentialsError, DataError, ZephyrctlError
from zephyrctl.generation.endpoint import Asked, Endpoint, Reply
from zephyrctl.generation.endpoint.failures import NotTaken, TryAgain, room_left
from zephyrctl.generation.endpoint.gate import Closed, Gate
from zephyrctl.generation.endpoint.pace import Pace, Ticket
from zephyrctl.generation.endpoint.tries import Tries
from zephyrctl.generation.sampling import Completion, Sampling
from zephyrctl.runs.signals import raise_if_stopping

_WATCH_S = 0.25
_TOO_LONG = "too_long"
"""Our own finish reason, of a reply that holds why there is no answer."""

OnReply = Callable[[int, Reply], None]


class RemoteAnswerer:
    """A model at an endpoint, with at most `concurrency` requests under way."""

    def __init__(self, endpoint: Endpoint, concurrency: int) -> None:
        self.endpoint = endpoint
        self.pace = Pace(concurrency)

    def ask(
        self,
        asked: Sequence[Asked],
        *,
        on_reply: OnReply,
        before: Callable[[int], None] | None = None,
        lost: Callable[[int], None] | None = None,
        name_of: Callable[[int], str] | None = None,
    ) -> None:
        """Put all requests to the service; `on_reply(index, reply)` is called as each is answered.

        `before(index)` is called right before a request is first sent, and `lost(index)` where it
        has to be sent again although the service may bill the try; what they raise ends the work
        like any final error. `name_of(index)` names a request in an error of its own.
        """
        if asked:
            work = _Work(self.endpoint, list(asked), on_reply, before, lost, name_of)
            asyncio.run(work.do(self.pace))

    def answer(
        self,
        prompts: Sequence[Sequence[Message]],
        *,
        sampling: Sampling,
        on_done: Callable[[int, Completion], None],
    ) -> None:
        """See `Answerer`. An answer gets no more tokens than the model's context leaves; a prompt
        that is itself too long gets a completion that says so."""
        began = perf_counter()

        def done(index: int, reply: Reply) -> None:
            on_done(index, completion_of(reply, seconds=perf_counter() - began))

        asked = [asked_of(prompt, sampling) for prompt in prompts]
        if asked:
            work = _Work(self.endpoint, asked, done, None, None, None, keep_going=True)
            asyncio.run(work.do(self.pace))

    def close(self) -> None:
        """Nothing is held between calls."""


def asked_of(messages: Sequence[Message], sampling: Sampling) -> Asked:
    """The request for one answer drawn by `sampling`; greedy decoding has no seed."""
    if sampling.is_greedy:
        return Asked(messages, sampling.max_new_tokens)
    return Asked(
        messages,
        sampling.max_new_tokens,
        temperature=sampling.temperature,
        seed=sampling.seed,
        top_p=None if sampling.top_p == 1.0 else sampling.top_p,
    )


def completion_of(reply: Reply, *, seconds: float) -> Completion:
    """The answer as every other way of asking gives it."""
    if reply.finish_reason == _TOO_LONG:
        return Completion("", 0, 0, False, seconds, reply.text)
    return Completion(
        reply.text.strip(),
        reply.completion_tokens,
        reply.prompt_tokens,
        reply.finish_reason == "stop",
        seconds,
        ended_by=ended_by(reply.finish_reason),
    )


def ended_by(finish_reason: str) -> str | None:
    """What `Completion.ended_by` is for an endpoint's word."""
    return None if finish_reason in ("stop", "length") else finish_reason


@dataclass
class _Work:
    """One call of `ask`."""

    endpoint: Endpoint
    asked: list[Asked]
    on_reply: OnReply
    before: Callable[[int], None] | None
    lost: Callable[[int], None] | None
    name_of: Callable[[int], str] | None
    keep_going: bool = False
    """Whether a request that is too long for the model is shortened, or else answered by none."""
    failure: ZephyrctlError | None = field(default=None, init=False)
    is_any_answered: bool = field(default=False, init=False)
    gate: Gate = field(init=False)

    async def do(self, pace: Pace) -> None:
        self.gate = Gate(pace)
        line = iter(range(len(self.asked)))
        try:
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(_watch_for_stop())
                count = min(pace.most, len(self.asked))
                workers = [group.create_task(self._pursue_all(line)) for _ in range(count)]
                await asyncio.wait(workers)
                watch.cancel()
        except ExceptionGroup as failures:
            raise self._with_kept(failures.exceptions[0]) from None
        finally:
            self.gate.close()
            await self.endpoint.aclose()
        if self.failure is not None:
            raise self.failure

    async def _pursue_all(self, line: Iterator[int]) -> None:
        for index in line:
            if self.failure is not None:
                return
            try:
                await self._pursue(index)
            except Closed:
                return

    async def _pursue(self, index: int) -> None:
        """Ask until there is an answer."""
        asked, tries = self.asked[index], None
        while True:
            ticket = await self.gate.enter(asked.rate_tokens)
            if tries is None:
                self._announce(index, ticket)
                tries = Tries(self.endpoint.patience, monotonic(), self.endpoint.where)
            reply = await self._try(index, ticket, tries)
            if reply is not None:
                self.on_reply(index, reply)
                self.is_any_answered = True
                return

    def _announce(self, index: int, ticket: Ticket) -> None:
        if self.before is None:
            return
        try:
            self.before(index)
        except BaseException as error:
            self.gate.leave(ticket)
            if isinstance(error, ZephyrctlError):
                self._end(error)
            raise

    async def _try(self, index: int, ticket: Ticket, tries: Tries) -> Reply | None:
        """One try; None after the wait that has to come before the next."""
        headers: Mapping[str, str] = {}
        pace = self.gate.pace
        try:
            left = tries.seconds_left(monotonic())
            reply, headers = await self.endpoint.try_once(self.asked[index], timeout_s=left)
            pace.grow()
            return reply
        except NotTaken:
            return None
        except DataError as error:
            room = room_left(error) if self.keep_going else None
            if room is None:
                self._end(self._named(error, index))
            if 0 < room < self.asked[index].max_tokens:
                self.asked[index] = replace(self.asked[index], max_tokens=room)
                return None
            return Reply(error.message, 0, 0, _TOO_LONG)
        except TryAgain as failed:
            failure, headers = failed, failed.headers
            if failure.is_pressure or failure.retry_after is not None:
                pause = failure.retry_after
                if pause is not None:  # never shorter than asked, nor all clients at one moment
                    pause *= tries.rng.uniform(1.0, 1.1)
                pace.press(ticket, monotonic(), pause=pause)
        finally:
            self.gate.leave(ticket, headers)
        if failure.may_be_billed and self.lost is not None:
            self._tell_lost(index)
        if self.gate.closed.is_set():
            raise Closed
        now = monotonic()
        await self.gate.pause(
            tries.wait_after(
                failure, now=now, pause=pace.pause_left(now), is_known=self.endpoint.is_known
            )
        )
        return None

    def _tell_lost(self, index: int) -> None:
        assert self.lost is not None
        try:
            self.lost(index)
        except ZephyrctlError as error:
            self._end(error)

    def _end(self, error: ZephyrctlError) -> NoReturn:
        """Send nothing more, and raise `error` when those under way are in."""
        if self.failure is None:
            self.failure = error
        self.gate.close()
        raise Closed

    def _with_kept(self, error: Exception) -> Exception:
        """A refused key or a used-up account comes in the middle of paid work: say it is kept."""
        if not isinstance(error, CredentialsError) or not self.is_any_answered:
            return error
        hint = "; ".join(filter(None, (error.hint, "what was answered so far is kept")))
        return CredentialsError(error.message, where=error.where, hint=hint)

    def _named(self, error: DataError, index: int) -> DataError:
        name = self.name_of(index) if self.name_of else f"request {index + 1} of {len(self.asked)}"
        return DataError(error.message, where=f"{error.where}, {name}", hint=error.hint)


async def _watch_for_stop() -> None:
    """End the work soon after a signal, also while every request hangs."""
    while True:
        raise_if_stopping()
        await asyncio.sleep(_WATCH_S)
