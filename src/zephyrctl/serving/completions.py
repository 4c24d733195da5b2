"""In which form does an answer leave?

Source: OpenAI's API reference, "Chat completions" and "Streaming".
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from zephyrctl.serving.events import Begun, Ended, Event, Piece, Scored, Scores
from zephyrctl.serving.protocol import ChatRequest, Refusal

STALLED_S = 60.0
"""How long a client may read nothing of what is sent before it counts as gone."""


def completion(asked: ChatRequest, events: list[Event]) -> dict[str, Any]:
    """The object of an answer that is sent at once."""
    texts = [""] * asked.n
    scores: list[list[Scored]] = [[] for _ in range(asked.n)]
    ends: dict[int, Ended] = {}
    for event in events:
        if isinstance(event, Begun):
            continue
        scores[event.choice] += event.scores
        if isinstance(event, Piece):
            texts[event.choice] += event.text
        else:
            ends[event.choice] = event
    choices = [
        {
            "index": number,
            "message": {"role": "assistant", "content": texts[number], "refusal": None},
            "logprobs": _logprobs(asked, scores[number]),
            "finish_reason": ends[number].reason,
        }
        for number in range(asked.n)
    ]
    begun = events[0]
    assert isinstance(begun, Begun)
    tokens = sum(end.tokens for end in ends.values())
    return {**_head(asked, "chat.completion"), "choices": choices, "usage": _usage(begun, tokens)}


async def lines(
    asked: ChatRequest, events: AsyncIterator[Event], *, said: Callable[[Exception], Refusal]
) -> AsyncGenerator[str]:
    """Server-sent events of a streamed answer whose Begun is the next event.

    A failure on the way is an event of its own, and no `[DONE]` follows it; `said` makes it one
    that a client may see.
    """
    head = _head(asked, "chat.completion.chunk")
    if asked.include_usage:
        head["usage"] = None

    def chunk(choice: int, delta: dict[str, str], reason: str | None, scores: Scores) -> str:
        logprobs = _logprobs(asked, scores) if scores else None
        one = {"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return _event({**head, "choices": [one]})

    begun: Begun | None = None
    tokens = 0
    try:
        async for event in events:
            if isinstance(event, Begun):
                begun = event
                # All of them, in order: OpenAI's client builds its list of choices from these.
                for number in range(asked.n):
                    yield chunk(number, {"role": "assistant", "content": ""}, None, ())
            elif isinstance(event, Piece):
                yield chunk(event.choice, {"content": event.text}, None, event.scores)
            else:
                tokens += event.tokens
                yield chunk(event.choice, {}, event.reason, event.scores)
    except Exception as error:
        yield _event(said(error).to_json())
        return
    assert begun is not None
    if asked.include_usage:
        yield _event({**head, "choices": [], "usage": _usage(begun, tokens)})
    yield "data: [DONE]\n\n"


class Stalled(Exception):
    """The client reads no more; nothing can be sent."""


class EventStream(Response):
    """A streamed response whose client may leave, or stop reading (Stalled): either ends it."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[str]) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        writing = asyncio.ensure_future(self._write(send))
        leaving = asyncio.ensure_future(until_gone(receive))
        try:
            await asyncio.wait([writing, leaving], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (writing, leaving):
                task.cancel()
            await asyncio.wait([writing, leaving])
            await self._events.aclose()
        if not writing.cancelled():
            writing.result()

    async def _write(self, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        async for text in self._events:
            try:
                async with asyncio.timeout(STALLED_S):
                    await send(_part(text.encode()))
            except TimeoutError:
                raise Stalled from None
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _part(body: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": True}


async def until_gone(receive: Receive) -> None:
    """Wait until the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value)}\n\n"


def _head(asked: ChatRequest, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{secrets.token_hex(12)}", "object": kind, "created": int(time.time()),
        "model": asked.model,
    }  # fmt: skip


def _usage(begun: Begun, tokens: int) -> dict[str, int]:
    return {
        "prompt_tokens": begun.prompt_tokens, "completion_tokens": tokens,
        "total_tokens": begun.prompt_tokens + tokens,
    }  # fmt: skip


def _logprobs(asked: ChatRequest, scores: Scores | list[Scored]) -> dict[str, Any] | None:
    if not asked.logprobs:
        return None
    content = [
        {
            **_token(one.token, one.logprob),
            "top_logprobs": [_token(token, logprob) for token, logprob in one.top],
        }
        for one in scores
    ]
    return {"content": content, "refusal": None}


def _token(token: bytes, logprob: float) -> dict[str, Any]:
    """A token as text, where half a character is U+FFFD, and as what it is. JSON has no word for
    minus infinity, for which OpenAI writes -9999."""
    return {
        "token": token.decode(errors="replace"), "logprob": max(logprob, -9999.0),
        "bytes": list(token),
    }  # fmt: skip
