"""How do many requests share one model? One after the other, in the order in which they came.

One thread holds the model, so that no two requests meet in it; the others wait in line. Pieces
travel to the event loop through a queue per request, which an answer's length bounds.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal

from zephyrctl.errors import DataError, ZephyrctlError
from zephyrctl.generation.sampling import Sampling
from zephyrctl.serving.protocol import ChatRequest, Refusal
from zephyrctl.serving.stops import StopText

MOST_WAITING = 512
"""Requests that may wait for the model; more are told to come back."""


@dataclass(frozen=True)
class Begun:
    """The model starts on a request."""

    prompt_tokens: int


@dataclass(frozen=True)
class Piece:
    """Text of one choice."""

    choice: int
    text: str


@dataclass(frozen=True)
class Ended:
    """One choice is complete."""

    choice: int
    reason: Literal["stop", "length"]
    tokens: int


Event = Begun | Piece | Ended


class Turns:
    """The line in front of one engine."""

    def __init__(self, engine: Any, *, max_new_tokens: int) -> None:
        self._engine = engine
        self._max_new_tokens = max_new_tokens
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine")
        self._waiting = 0
        self._ending = threading.Event()

    async def ask(self, request: ChatRequest) -> AsyncIterator[Event]:
        """The events of an answer: Begun, then Pieces and one Ended per choice.

        Refusal comes before Begun where the prompt cannot be answered. Closing the iterator ends
        the work, also while it still waits in line.
        """
        if self._waiting >= MOST_WAITING:
            raise Refusal("too many requests are waiting", status=503, code="overloaded")
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[Event | BaseException | None] = asyncio.Queue()
        gone = threading.Event()

        def send(event: Event | BaseException | None) -> None:
            if not gone.is_set():
                loop.call_soon_threadsafe(events.put_nowait, event)

        def stopped() -> bool:
            return gone.is_set() or self._ending.is_set()

        self._waiting += 1
        work = self._thread.submit(self._work, request, send, stopped)
        try:
            while (event := await events.get()) is not None:
                if isinstance(event, BaseException):
                    raise event
                yield event
        finally:
            self._waiting -= 1
            gone.set()
            work.cancel()

    def close(self) -> None:
        """End the work under way and let go of the thread."""
        self._ending.set()
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _work(
        self,
        request: ChatRequest,
        send: Callable[[Event | BaseException | None], None],
        stopped: Callable[[], bool],
    ) -> None:
        """In the engine's thread: decode every choice, and hand over what happens."""
        try:
            # What a client quotes cannot end a turn and speak for another.
            request = replace(request, messages=tuple(self._engine.as_text(request.messages)))
            prompt_tokens = self._checked(request)
            send(Begun(prompt_tokens))
            seed = secrets.randbelow(2**31) if request.seed is None else request.seed
            sampling = Sampling(
                request.temperature, request.top_p, 0,
                request.max_tokens or self._max_new_tokens, seed,
            )  # fmt: skip
            for choice in range(request.n):
                if stopped():
                    break
                self._decode(choice, request, sampling, send, stopped)
            send(None)
        except BaseException as error:  # a thread has nobody else to tell
            send(error)

    def _checked(self, request: ChatRequest) -> int:
        """The number of prompt tokens; Refusal where the prompt leaves no room for an answer."""
        try:
            tokens = len(self._engine.encode(request.messages))
        except ZephyrctlError as error:
            raise Refusal(error.message, param="messages") from error
        context = self._engine.context
        if context is not None and tokens >= context:
            raise Refusal(
                f"the prompt has {tokens} tokens, and the model's context of {context} must hold "
                "it and at least one token of the answer",
                param="messages",
                code="context_length_exceeded",
            )
        return tokens

    def _decode(
        self,
        choice: int,
        request: ChatRequest,
        sampling: Sampling,
        send: Callable[[Event | BaseException | None], None],
        stopped: Callable[[], bool],
    ) -> None:
        """One choice. The first is drawn from the seed itself, each other from the next one."""
        stop = StopText(request.stop)
        try:
            stream = self._engine.stream(
                request.messages,
                sampling=replace(sampling, seed=sampling.seed + choice),
                stop=lambda: stop.found or stopped(),
            )
            for piece in stream:
                if text := stop.feed(piece):
                    send(Piece(choice, text))
        except DataError as error:
            raise Refusal(error.message, param="messages") from error
        if rest := stop.close():
            send(Piece(choice, rest))
        ended = stop.found or stream.completion.stopped
        send(Ended(choice, "stop" if ended else "length", stream.completion.tokens))
