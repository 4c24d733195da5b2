"""Which addresses does the service have, and in which form do answers leave it?

Source: OpenAI's API reference, "Chat completions", "Streaming" and "List models".
"""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from zephyrctl import terminal
from zephyrctl.errors import ZephyrctlError
from zephyrctl.serving.protocol import ChatRequest, Refusal, parse
from zephyrctl.serving.turns import Begun, Ended, Event, Piece, Turns

LARGEST_BODY = 8 * 2**20
_STILL_THERE_S = 0.5
_GONE = 499  # nginx's status for a client that left; nobody reads it

Endpoint = Callable[[Request], Awaitable[Response]]


def make_app(turns: Turns, *, name: str, api_key: str | None = None) -> Starlette:
    """The ASGI application of one model, which answers to `name`.

    With `api_key` everything but /health needs `Authorization: Bearer KEY`.
    """
    began = int(time.time())
    card = {"id": name, "object": "model", "created": began, "owned_by": "zephyrctl"}

    async def health(request: Request) -> Response:
        del request
        return JSONResponse({"status": "ok", "model": name})

    async def models(request: Request) -> Response:
        del request
        return JSONResponse({"object": "list", "data": [card]})

    async def one_model(request: Request) -> Response:
        _check_name(request.path_params["name"], name)
        return JSONResponse(card)

    async def complete(request: Request) -> Response:
        asked = parse(await _body(request))
        _check_name(asked.model, name)
        return await _answer(turns, asked, request)

    def guarded(endpoint: Endpoint) -> Endpoint:
        async def guard(request: Request) -> Response:
            try:
                _check_key(request, api_key)
                return await endpoint(request)
            except Exception as error:  # left to Starlette, it would be a page of text
                return _refused(_said(error))

        return guard

    return Starlette(
        routes=[
            Route("/health", health),
            Route("/v1/models", guarded(models)),
            Route("/v1/models/{name:path}", guarded(one_model)),
            Route("/v1/chat/completions", guarded(complete), methods=["POST"]),
        ],
        exception_handlers={HTTPException: _no_such},
    )


async def _answer(turns: Turns, asked: ChatRequest, request: Request) -> Response:
    """Wait for the request's turn; only then is it known whether it can be answered."""
    events = turns.ask(asked)
    whole = asyncio.ensure_future(anext(events) if asked.stream else _collect(events))
    try:
        while not (await asyncio.wait([whole], timeout=_STILL_THERE_S))[0]:
            if await request.is_disconnected():
                return Response(status_code=_GONE)
        found = await whole
    finally:
        # Ends the work where the client left; where everything came, there is nothing to end.
        whole.cancel()
        await asyncio.wait([whole])
    if isinstance(found, list):
        return JSONResponse(_completion(asked, found))
    assert isinstance(found, Begun)
    return StreamingResponse(
        _lines(asked, found, events),
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


async def _collect(events: AsyncIterator[Event]) -> list[Event]:
    return [event async for event in events]


def _completion(asked: ChatRequest, events: list[Event]) -> dict[str, Any]:
    """The object of an answer that is sent at once."""
    texts = [""] * asked.n
    choices: list[dict[str, Any]] = []
    begun = events[0]
    assert isinstance(begun, Begun)
    tokens = 0
    for event in events:
        if isinstance(event, Piece):
            texts[event.choice] += event.text
        elif isinstance(event, Ended):
            tokens += event.tokens
            message = {"role": "assistant", "content": texts[event.choice]}
            choices.append(
                {
                    "index": event.choice, "message": message, "logprobs": None,
                    "finish_reason": event.reason,
                }
            )  # fmt: skip
    return {**_head(asked, "chat.completion"), "choices": choices, "usage": _usage(begun, tokens)}


async def _lines(
    asked: ChatRequest, begun: Begun, events: AsyncIterator[Event]
) -> AsyncIterator[str]:
    """Server-sent events of a streamed answer. A failure on the way is an event of its own, and
    no `[DONE]` follows it."""
    head = _head(asked, "chat.completion.chunk")
    if asked.include_usage:
        head["usage"] = None

    def chunk(choice: int, delta: dict[str, str], reason: str | None = None) -> str:
        one = {"index": choice, "delta": delta, "logprobs": None, "finish_reason": reason}
        return _event({**head, "choices": [one]})

    opened: set[int] = set()
    tokens = 0
    try:
        async for event in events:
            assert not isinstance(event, Begun)
            if event.choice not in opened:
                opened.add(event.choice)
                yield chunk(event.choice, {"role": "assistant", "content": ""})
            if isinstance(event, Piece):
                yield chunk(event.choice, {"content": event.text})
            else:
                tokens += event.tokens
                yield chunk(event.choice, {}, event.reason)
    except Exception as error:
        yield _event(_said(error).to_json())
        return
    if asked.include_usage:
        yield _event({**head, "choices": [], "usage": _usage(begun, tokens)})
    yield "data: [DONE]\n\n"


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


async def _body(request: Request) -> bytes:
    """The body, JSON by its own word: a page in a browser cannot send that unasked."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refusal("the body must be sent as content-type: application/json", status=415)
    parts: list[bytes] = []
    size = 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > LARGEST_BODY:
                raise Refusal(f"the body is over {LARGEST_BODY // 2**20} MiB", status=413)
            parts.append(part)
    except ClientDisconnect:
        raise Refusal("the client left", status=_GONE) from None
    return b"".join(parts)


def _check_name(asked: str, name: str) -> None:
    if asked != name:
        raise Refusal(
            f"the model '{asked[:200]}' is not here; '{name}' is",
            status=404, param="model", code="model_not_found",
        )  # fmt: skip


def _check_key(request: Request, api_key: str | None) -> None:
    if api_key is None:
        return
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    is_right = hmac.compare_digest(given.strip().encode(), api_key.encode())
    if scheme.lower() != "bearer" or not is_right:
        raise Refusal("the API key is missing or wrong", status=401, code="invalid_api_key")


def _refused(refusal: Refusal) -> Response:
    headers = {401: {"www-authenticate": "Bearer"}, 503: {"retry-after": "5"}}.get(refusal.status)
    return JSONResponse(refusal.to_json(), status_code=refusal.status, headers=headers)


async def _no_such(request: Request, error: Exception) -> Response:
    """An unknown address or method."""
    assert isinstance(error, HTTPException)
    refusal = Refusal(f"{request.method} {request.url.path}: {error.detail}", code="not_found")
    return JSONResponse(refusal.to_json(), status_code=error.status_code, headers=error.headers)


def _said(error: Exception) -> Refusal:
    """What a client is told of a failure of ours; the operator reads all of it on stderr."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, ZephyrctlError):
        terminal.say(f"! a request failed: {error.message}")
        return Refusal(error.message, status=500)
    terminal.say(f"! a request failed: {type(error).__name__}: {error}")
    return Refusal("the server failed on this request", status=500)
