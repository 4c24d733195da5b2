"""Stand-ins for other people's systems: a server that speaks the OpenAI chat protocol.

A real HTTP server on a free local port, in a thread of its own (`FakeEndpoint`) or, so that it
shares no interpreter with its client, in a process of its own:

    python -m tests.fakes --delay 0.2 --slots 64

What it does with the n-th request is decided by a list of faults or by a function, so that a test
says exactly what goes wrong when.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

Messages = list[dict[str, str]]
Answer = Callable[[Messages], str]
Usage = Callable[[Messages, str], tuple[int, int]]
"""Prompt and completion tokens of a conversation and its reply."""
Fault = Callable[[int], str]
"""What is done to the n-th request, counted from 0."""

STATUS_OF = {
    "400": (400, "Invalid value: 'messages'"),
    "401": (401, "Incorrect API key provided"),
    "402": (402, "Insufficient Balance"),
    "403": (403, "This key may not use the model"),
    "404": (404, "The model does not exist"),
    "429": (429, "Rate limit reached"),
    "quota": (429, "You exceeded your current quota"),
    "500": (500, "The server had an error"),
    "503": (503, "Overloaded"),
    "529": (529, "Overloaded"),
    "long": (400, "This model's maximum context length is 64 tokens. Please reduce the length"),
    "blocked": (400, "The response was filtered due to the prompt"),
}
CODE_OF = {"quota": "insufficient_quota", "blocked": "content_filter"}
FAULTS = (
    *STATUS_OF, "307", "slow", "drip", "bad_json", "truncated", "cut", "empty", "error", "drop",
    "filtered", "refusal", "parts", "ok",
)  # fmt: skip
REFUSED = {
    "max_tokens": "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
    "'max_completion_tokens' instead.",
    "temperature": "Unsupported value: 'temperature' does not support {value} with this model.",
    "seed": "Extra inputs are not permitted: seed",
    "stream_options": "Unknown parameter: 'stream_options'.",
    "logprobs": "You are not allowed to request logprobs from this model.",
}


def words(text: str) -> list[str]:
    """A text in pieces, each a word with the blank after it."""
    return [f"{word} " for word in text.split(" ")]


def echo(messages: Messages) -> str:
    """The last message, said back."""
    return f"you said: {messages[-1]['content']}"


@dataclass
class RateLimit:
    """At most `requests` at once, which come back evenly over `window_s` seconds, as OpenAI
    documents its limits and tells of them in its headers.

    Requests over it get a 429 with Retry-After. `refused` counts them.
    """

    requests: int
    window_s: float
    refused: int = 0

    def __post_init__(self) -> None:
        self._left, self._at = float(self.requests), time.monotonic()

    def admit(self) -> bool:
        """Count a request in, where there is room for it."""
        now = time.monotonic()
        back = (now - self._at) * self.requests / self.window_s
        self._left, self._at = min(self.requests, self._left + back), now
        admitted = self._left >= 1
        self._left -= admitted
        self.refused += not admitted
        return admitted

    def headers(self) -> dict[str, str]:
        """What was left after the last request, and how long until all of it is back."""
        reset = (self.requests - self._left) * self.window_s / self.requests
        return {
            "x-ratelimit-limit-requests": str(self.requests),
            "x-ratelimit-remaining-requests": str(int(self._left)),
            "x-ratelimit-reset-requests": f"{reset * 1000:.0f}ms",
        }

    def retry_after(self) -> str:
        """Seconds until the next request finds room."""
        return f"{(1 - self._left) * self.window_s / self.requests:.3f}"


@dataclass(kw_only=True)
class FakeEndpoint:
    """`with FakeEndpoint(faults=["429", "500"]) as server:` fails twice, then answers.

    `faults` names what happens to each request in turn ("ok" answers); after the list every
    request is answered. `always` is done to all of them, `fault_of` decides by a request's number.
    `refuses` are the parameters that the model does not take. `slots` requests are served at once,
    others wait. `context`, where it is set, is how many words prompt and answer may have.
    A streamed answer is sent in the pieces of `cut`, `pace_s` seconds apart. `ends` is the finish
    reason of an answer that is not cut, `card` what is listed of the model beside its name.
    `requests` holds (headers, body) of all.
    """

    answer: Answer = echo
    faults: Iterable[str] = ()
    always: str | None = None
    fault_of: Fault | None = None
    retry_after: str | None = None
    delay_s: float = 0.0
    key: str | None = None
    model: str = "fake"
    refuses: Iterable[str] = ()
    logprobs: Mapping[str, float] | None = None
    limit: RateLimit | None = None
    shows_limit: bool = True
    slots: int = 10_000
    port: int = 0
    usage: Usage = lambda messages, text: (7, len(text.split(" ")))
    context: int | None = None
    cut: Callable[[str], list[str]] = words
    pace_s: float = 0.005
    ends: str | None = "stop"
    card: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.left = deque(self.faults)
        self.requests: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.answered = 0
        self.at_once = 0
        self.most_at_once = 0
        self._ready = threading.Event()

    def __enter__(self) -> FakeEndpoint:
        self._thread = threading.Thread(target=self.run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def run(self) -> None:
        """Serve in this thread until told to stop."""
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self.room = asyncio.Semaphore(self.slots)
        self._open: set[asyncio.Transport] = set()
        server = await self._loop.create_server(
            lambda: _Connection(self, self._open), "127.0.0.1", self.port, backlog=1024
        )
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for transport in list(self._open):
            transport.abort()

    @property
    def url(self) -> str:
        """The base URL, with the API's version."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def spec(self) -> str:
        """The endpoint as the configuration names it."""
        return f"openai+{self.url}:{self.model}"

    @property
    def connections(self) -> int:
        """Connections that are open; with none, nothing of whoever was killed is still to come."""
        return len(self._open)

    def fault_of_next(self, number: int) -> str:
        """What is done to the request that has just come."""
        if self.always is not None:
            return self.always
        if self.fault_of is not None:
            return self.fault_of(number)
        return self.left.popleft() if self.left else "ok"

    def stop_when_alone(self) -> None:
        """Stop when whoever started this process is gone, or closes its end of the pipe."""
        sys.stdin.read()
        self._loop.call_soon_threadsafe(self._stop.set)


def _too_long(body: dict[str, Any], context: int) -> str | None:
    """What vLLM says to a request over its context, or None where it fits."""
    prompt = sum(len(message["content"].split()) for message in body["messages"])
    wanted = body["max_tokens"]
    limit = f"This model's maximum context length is {context} tokens"
    if prompt >= context:
        return f"{limit}. However, your messages resulted in {prompt} tokens."
    if prompt + wanted > context:
        return (
            f"'max_tokens' or 'max_completion_tokens' is too large: {wanted}. {limit} and your "
            f"request has {prompt} input tokens ({wanted} > {context} - {prompt})."
        )
    return None


class _Connection(asyncio.Protocol):
    """One connection; its requests come one after the other."""

    def __init__(self, fake: FakeEndpoint, opened: set[asyncio.Transport]) -> None:
        self.fake = fake
        self._opened = opened
        self._buffer = b""
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._opened.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._opened.discard(self.transport)
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            return
        body, self._buffer = rest[:length], rest[length:]
        path = urlsplit(first.split(" ")[1]).path  # a proxy is sent whole addresses
        self._task = asyncio.ensure_future(self._handle(path, headers, body))

    async def _handle(self, path: str, headers: dict[str, str], content: bytes) -> None:
        fake = self.fake
        body = json.loads(content or b"{}")
        number = len(fake.requests)
        fake.requests.append((headers, body))
        fake.at_once += 1
        fake.most_at_once = max(fake.most_at_once, fake.at_once)
        try:
            async with fake.room:
                await self._serve(path, headers, body, number)
        finally:
            fake.at_once -= 1

    async def _serve(
        self, path: str, headers: dict[str, str], body: dict[str, Any], number: int
    ) -> None:
        fake = self.fake
        if path == "/v1/models":
            self._send(200, {"data": [{"id": fake.model, **fake.card}]})
            return
        if path != "/v1/chat/completions":
            self._refuse("404")
            return
        if fake.key and headers.get("authorization") != f"Bearer {fake.key}":
            self._refuse("401")
            return
        if fake.limit is not None and not fake.limit.admit():
            self._refuse("429", {"retry-after": fake.limit.retry_after()})
            return
        if fake.context is not None and (said := _too_long(body, fake.context)):
            self._send(400, {"error": {"message": said, "type": "BadRequestError"}})
            return
        fault = fake.fault_of_next(number)
        refused = next((name for name in fake.refuses if name in body), None)
        if refused is not None:
            self._refuse_parameter(refused, body)
            return
        if fake.delay_s or fault == "slow":
            await asyncio.sleep(fake.delay_s or 0.5)
        await self._do(fault, body)

    async def _do(self, fault: str, body: dict[str, Any]) -> None:
        if fault in STATUS_OF:
            extra = {"retry-after": self.fake.retry_after} if self.fake.retry_after else {}
            self._refuse(fault, extra if fault in ("429", "503", "529") else {})
        elif fault == "307":
            self._send(307, {}, {"location": "http://127.0.0.1:9/v1/chat/completions"})
        elif fault == "drop":
            self.transport.close()
        elif fault in ("bad_json", "truncated"):
            self._send_bytes(200, b'{"choices": [{"message": {"content": "half an ans')
        elif fault == "cut":
            head = b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n"
            self.transport.write(head + b'{"choices": [{"message": {"con')
            self.transport.close()
        elif fault == "empty":
            self._send(200, {"choices": []})
        elif fault == "error":
            self._send(200, {"error": {"message": "Provider returned error", "code": 502}})
        elif fault == "drip":
            await self._drip(body)
        elif body.get("stream"):
            await self._stream(body, fault)
        else:
            self._send(200, self._completion(body, fault), self._limits())

    def _refuse(self, fault: str, extra: Mapping[str, str] | None = None) -> None:
        status, message = STATUS_OF[fault]
        self._send(status, {"error": {"message": message, "code": CODE_OF.get(fault)}}, extra)

    def _refuse_parameter(self, name: str, body: dict[str, Any]) -> None:
        message = REFUSED[name].format(value=body[name])
        error = {"message": message, "type": "invalid_request_error", "param": name}
        self._send(403 if name == "logprobs" else 400, {"error": error})

    def _completion(self, body: dict[str, Any], fault: str) -> dict[str, Any]:
        text = self.fake.answer(body["messages"])
        limit = body.get("max_tokens") or body.get("max_completion_tokens") or 10**9
        words = text.split(" ")
        cut = len(words) > limit
        text = " ".join(words[:limit]) if cut else text
        message: dict[str, Any] = {"role": "assistant", "content": text}
        reason = "length" if cut else self.fake.ends
        if fault == "filtered":
            message["content"], reason = None, "content_filter"
        elif fault == "refusal":
            message |= {"content": None, "refusal": "I can't help with that."}
        elif fault == "parts":
            message["content"] = [{"type": "thinking"}, {"type": "text", "text": text}]
        choice = {"index": 0, "message": message, "finish_reason": reason}
        if self.fake.logprobs is not None and body.get("logprobs"):
            choice["logprobs"] = _logprobs(self.fake.logprobs, body["top_logprobs"])
        self.fake.answered += 1
        counted = self.fake.usage(body["messages"], text)
        usage = dict(zip(("prompt_tokens", "completion_tokens"), counted, strict=True))
        return {"object": "chat.completion", "choices": [choice], "usage": usage}

    def _limits(self) -> dict[str, str]:
        limit = self.fake.limit
        return limit.headers() if limit is not None and self.fake.shows_limit else {}

    async def _drip(self, body: dict[str, Any]) -> None:
        """A whole answer, one byte every 20 ms."""
        content = json.dumps(self._completion(body, "drip")).encode()
        self.fake.answered -= 1
        self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(content))
        for byte in content:
            self.transport.write(bytes([byte]))
            await asyncio.sleep(0.02)

    async def _stream(self, body: dict[str, Any], fault: str) -> None:
        self.transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
        )
        whole = self._completion(body, fault)
        message, reason = (whole["choices"][0][name] for name in ("message", "finish_reason"))
        for name in ("content", "refusal"):
            text = message.get(name)
            for piece in self.fake.cut(text) if isinstance(text, str) else [text] if text else []:
                self._event({"choices": [{"delta": {name: piece}, "finish_reason": None}]})
                await asyncio.sleep(self.fake.pace_s)
        self._event({"choices": [{"delta": {}, "finish_reason": reason}]})
        if (body.get("stream_options") or {}).get("include_usage"):
            self._event({"choices": [], "usage": whole["usage"]})
        self.transport.write(b"data: [DONE]\n\n")
        self.transport.close()

    def _event(self, value: Any) -> None:
        self.transport.write(f"data: {json.dumps(value)}\n\n".encode())

    def _send(self, status: int, value: Any, extra: Mapping[str, str] | None = None) -> None:
        self._send_bytes(status, json.dumps(value).encode(), extra)

    def _send_bytes(
        self, status: int, content: bytes, extra: Mapping[str, str] | None = None
    ) -> None:
        headers = {"content-type": "application/json", "content-length": str(len(content))}
        lines = [f"{name}: {value}" for name, value in (headers | dict(extra or {})).items()]
        head = "\r\n".join([f"HTTP/1.1 {status} Status", *lines])
        self.transport.write(head.encode("latin-1") + b"\r\n\r\n" + content)


def _logprobs(table: Mapping[str, float], count: int) -> dict[str, Any]:
    rows = [{"token": token, "logprob": value, "bytes": None} for token, value in table.items()]
    rows.sort(key=lambda row: -row["logprob"])
    return {"content": [{**rows[0], "top_logprobs": rows[:count]}]}


def main() -> None:
    """Serve in this process; the base URL goes to stdout, and the end of stdin is the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds that an answer takes")
    parser.add_argument("--slots", type=int, default=64, help="requests served at once")
    parser.add_argument("--words", type=int, default=170, help="length of an answer")
    options = parser.parse_args()
    text = " ".join(["word"] * (options.words - 1)) + " Rating: [[7]]"
    fake = FakeEndpoint(answer=lambda _: text, delay_s=options.delay, slots=options.slots)
    fake.requests = _Forgetful()
    threading.Thread(target=_announce, args=(fake,), daemon=True).start()
    fake.run()


def _announce(fake: FakeEndpoint) -> None:
    fake._ready.wait()
    sys.stdout.write(f"{fake.url}\n")
    sys.stdout.flush()
    fake.stop_when_alone()


class _Forgetful(list[Any]):
    """Keeps nothing: requests are counted by those who sent them."""

    def append(self, item: Any) -> None:
        del item


if __name__ == "__main__":
    main()
