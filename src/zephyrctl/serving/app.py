"""Which addresses does the service have, and who may ask there?

Source: OpenAI's API reference, "Create chat completion" and "List models".
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from zephyrctl import terminal
from zephyrctl.errors import ZephyrctlError
from zephyrctl.serving.completions import EventStream, Stalled, completion, lines, until_gone
from zephyrctl.serving.events import Answering, BrokenOff, Event
from zephyrctl.serving.line import Line, Place
from zephyrctl.serving.protocol import ChatRequest, Refusal, parse

BODY_S = 60.0
"""How long a body may take to come."""
_GONE = 499  # nginx's status for a client that left; nobody reads it
_HEADERS = {401: {"www-authenticate": "Bearer"}, 503: {"retry-after": "5"}}
_STOPPING = {**_HEADERS[503], "connection": "close"}
"""Another try on the same connection would meet the same server, or none."""

Endpoint = Callable[[Request], Awaitable[Response]]


def make_app(
    answering: Answering, *, name: str, api_key: str | None = None, line: Line | None = None
) -> Starlette:
    """The ASGI application of one model, which answers to `name`.

    With `api_key` everything but /health needs `Authorization: Bearer KEY`.
    """
    line = line or Line()
    card = {"id": name, "object": "model", "created": int(time.time()), "owned_by": "zephyrctl"}
    if answering.context is not None:
        card["max_model_len"] = answering.context  # vLLM's name for it

    async def health(request: Request) -> Response:
        del request
        if line.is_draining:
            return JSONResponse({"status": "stopping", "model": name}, 503, _STOPPING)
        return JSONResponse({"status": "ok", "model": name})

    async def models(request: Request) -> Response:
        del request
        return JSONResponse({"object": "list", "data": [card]})

    async def one_model(request: Request) -> Response:
        _check_name(request.path_params["name"], name)
        return JSONResponse(card)

    def guarded(endpoint: Endpoint) -> Endpoint:
        async def guard(request: Request) -> Response:
            try:
                _check_key(request, api_key)
                return await endpoint(request)
            except Exception as error:  # left to Starlette, it would be a page of text
                return _refused(said(error))

        return guard

    app = Starlette(
        routes=[
            Route("/health", health),
            Route("/v1/models", guarded(models)),
            Route("/v1/models/{name:path}", guarded(one_model)),
            Route("/v1/chat/completions", _Chat(answering, name, api_key, line), methods=["POST"]),
        ],
        exception_handlers={HTTPException: _no_such},
    )
    app.router.redirect_slashes = False  # a wrong address is a 404, not another one
    return app


class _Chat:
    """The address of chat completions: an ASGI application, which has its place in the line until
    the last byte of the answer is sent."""

    def __init__(self, answering: Answering, name: str, api_key: str | None, line: Line) -> None:
        self._answering = answering
        self._name = name
        self._api_key = api_key
        self._line = line

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            _check_key(request, self._api_key)
            with self._line.place() as place:
                asked = parse(await _body(request, place))
                _check_name(asked.model, self._name)
                async with aclosing(self._answering.ask(asked)) as events:
                    response = await _answer(asked, events, receive)
                    await response(scope, receive, send)
        except Stalled:
            return  # unfinished, for which uvicorn closes the connection
        except Exception as error:
            await _refused(said(error))(scope, receive, send)


async def _answer(asked: ChatRequest, events: AsyncGenerator[Event], receive: Receive) -> Response:
    """Wait for the request's turn; only then is it known whether it can be answered."""
    whole = asyncio.ensure_future(_first(events) if asked.stream else _collect(events))
    leaving = asyncio.ensure_future(until_gone(receive))
    try:
        await asyncio.wait([whole, leaving], return_when=asyncio.FIRST_COMPLETED)
        if not whole.done():
            return Response(status_code=_GONE)
        found = whole.result()
    finally:
        for task in (whole, leaving):
            task.cancel()
        await asyncio.wait([whole, leaving])
    if not asked.stream:
        return JSONResponse(completion(asked, found))
    return EventStream(lines(asked, _from(found, events), said=said))


async def _first(events: AsyncGenerator[Event]) -> list[Event]:
    return [await anext(events)]


async def _collect(events: AsyncGenerator[Event]) -> list[Event]:
    return [event async for event in events]


async def _from(first: list[Event], rest: AsyncGenerator[Event]) -> AsyncGenerator[Event]:
    for event in first:
        yield event
    async for event in rest:
        yield event


async def _body(request: Request, place: Place) -> bytes:
    """The body, JSON by its own word: a page in a browser cannot send that unasked."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refusal("the body must be sent as content-type: application/json", status=415)
    parts: list[bytes] = []
    try:
        async with asyncio.timeout(BODY_S):
            async for part in request.stream():
                place.hold(len(part))
                parts.append(part)
    except ClientDisconnect:
        raise Refusal("the client left", status=_GONE) from None
    except TimeoutError:
        raise Refusal(f"the body took over {BODY_S:g} s to come", status=408) from None
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
    is_stopping = refusal.code == "shutting_down"
    headers = _STOPPING if is_stopping else _HEADERS.get(refusal.status)
    return JSONResponse(refusal.to_json(), status_code=refusal.status, headers=headers)


async def _no_such(request: Request, error: Exception) -> Response:
    """An unknown address or method."""
    assert isinstance(error, HTTPException)
    code = "method_not_allowed" if error.status_code == 405 else "not_found"
    refusal = Refusal(f"{request.method} {request.url.path}: {error.detail}", code=code)
    return JSONResponse(refusal.to_json(), status_code=error.status_code, headers=error.headers)


def said(error: Exception) -> Refusal:
    """What a client is told of a failure; the operator reads all of ours on stderr."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, BrokenOff):  # the operator is told once, how many there were
        return Refusal(error.message, status=500)
    if isinstance(error, ZephyrctlError) and error.kind != "job":
        terminal.say(f"! a request failed: {error.message}")
        return Refusal(error.message, status=500)
    shown = (
        error.message if isinstance(error, ZephyrctlError) else f"{type(error).__name__}: {error}"
    )
    terminal.say(f"! a request failed: {shown}")
    return Refusal("the server failed on this request", status=500)
