"""A service can neither send the key elsewhere, nor fill the memory, nor make a command wait."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Cli
from tests.local_server import listening

from zephyrctl.data.messages import Message
from zephyrctl.errors import NetworkError, ZephyrctlError
from zephyrctl.generation.endpoint import Asked, Endpoint, models_at
from zephyrctl.generation.endpoint.tries import Patience

KEY = "sk-canary-0123456789"
ASKED = Asked([Message("user", "Hi")], 8)


@contextmanager
def server(handle: Any) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A server that does `handle(request)` to every request; its address and what it was sent."""
    seen: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append({name.lower(): value for name, value in self.headers.items()})
            self.rfile.read(int(self.headers.get("content-length", "0")))
            try:
                handle(self)
            except OSError:  # the client has had enough
                self.close_connection = True

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with listening(Handler) as address:
        yield f"{address}/v1", seen


def answer_with(status: int, headers: dict[str, str], body: bytes = b"{}") -> Any:
    def handle(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in {"content-length": str(len(body)), **headers}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)

    return handle


def endless(prefix: bytes, *, streamed: bool) -> Any:
    """An answer that never ends: one line of a stream, or a body of no stated length."""

    def handle(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        kind = "text/event-stream" if streamed else "application/json"
        request.send_header("content-type", kind)
        request.end_headers()
        request.wfile.write(prefix)
        while True:
            request.wfile.write(b"x" * 2**20)

    return handle


def ask(url: str, way: str, *, seconds: float = 20) -> Any:
    endpoint = Endpoint(url, "m", KEY, Patience(timeout_s=20, deadline_s=seconds))
    if way == "stream":
        return list(endpoint.stream(ASKED))
    if way == "list":
        return models_at(url)

    async def once() -> Any:
        try:
            return await endpoint.chat(ASKED)
        finally:
            await endpoint.aclose()

    return asyncio.run(once())


@pytest.mark.parametrize("way", ["answer", "stream", "list"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_the_key_stays(
    status: int, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with server(answer_with(200, {})) as (elsewhere, reached):
        moved = {"location": f"{elsewhere}/chat/completions"}
        with server(answer_with(status, moved)) as (url, asked):
            if way == "list":
                assert ask(url, way) == []
            else:
                with pytest.raises(NetworkError, match="redirects are not followed"):
                    ask(url, way)
    assert len(asked) == 1
    assert reached == []


@pytest.mark.parametrize("way", ["answer", "stream", "list"])
def test_an_answer_without_end_is_given_up(way: str) -> None:
    prefix = b"data: " if way == "stream" else b'{"choices": "'
    sends = endless(prefix, streamed=way == "stream")
    with server(sends) as (url, _), pytest.raises(NetworkError, match="MiB for one answer"):
        ask(url, way)


def test_a_bomb_of_packed_zeros_is_given_up() -> None:
    import gzip

    packed = gzip.compress(b"0" * 20 * 2**20)
    assert len(packed) < 2**17
    bomb = answer_with(200, {"content-encoding": "gzip"}, packed)
    with server(bomb) as (url, _), pytest.raises(NetworkError, match="MiB for one answer"):
        ask(url, "answer")


@pytest.mark.parametrize("wait", ["86400", "999999999999", "Wed, 21 Oct 2099 07:28:00 GMT"])
def test_a_service_cannot_make_us_wait_past_our_own_deadline(wait: str) -> None:
    began = time.monotonic()
    refusing = answer_with(429, {"retry-after": wait})
    with server(refusing) as (url, _), pytest.raises(ZephyrctlError):
        ask(url, "answer", seconds=2)
    assert time.monotonic() - began < 15


def test_a_password_in_an_address_is_not_shown(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZEPHYRCTL_OFFLINE")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    secret = "hush-canary"
    address = f"http://me:{secret}@127.0.0.1:1/v1"
    monkeypatch.setenv("OPENAI_BASE_URL", address)
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:{secret}@127.0.0.1:1")
    Path("zephyr.yaml").write_text(
        "model: {base: tiny}\neval: {benchmarks: [mt-bench], judge: {spec: 'openai:m'}}\n"
    )
    for words in (
        ("chat", "openai:m", "-p", "Hi"),
        ("chat", "m", "--url", address, "-p", "Hi"),
        ("chat", f"openai+{address}:m", "-p", "Hi"),
        ("doctor",),
        ("run", "--dry-run"),
        ("eval", "judge-test", "--judge", f"openai+{address}:m"),
    ):
        done = cli(*words)
        assert done.code != 0, words
        assert secret not in done.out + done.err, words
