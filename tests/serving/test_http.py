"""The service as HTTP: odd requests, clients that read slowly or not, and the end of it."""

import asyncio
import json
import socket
import threading
import time
from typing import Any

import httpx
import pytest
from tests.serving.conftest import CHAT, ROOMY, answering, running
from tests.serving.test_app import answer_of, ask, events, slow, text_of
from tests.serving.test_protocol import WRONG

from zephyrctl.generation.engine import Engine
from zephyrctl.serving import app, completions, line
from zephyrctl.serving.line import Line
from zephyrctl.serving.turns import Turns

OTHERS: list[tuple[str, str, Any, str, int]] = [
    ("POST", CHAT, b"", "application/json", 400),
    ("POST", CHAT, b"\xff\xfe\x00", "application/json", 400),
    ("POST", CHAT, b"[" * 100_000, "application/json", 400),
    ("POST", CHAT, b'{"model": 1' + b"0" * 5000 + b"}", "application/json", 400),
    ("POST", CHAT, b'{"stream": false, "stream": true}', "application/json", 400),
    ("POST", CHAT, b'{"temperature": NaN}', "application/json", 400),
    ("POST", CHAT, ask("x", temperature=1e999), "application/json", 400),
    ("POST", CHAT, ask("x", n=17), "application/json", 400),
    ("POST", CHAT, ask("x", logprobs=True, top_logprobs=-1), "application/json", 400),
    ("POST", CHAT, ask("\ud800"), "application/json", 400),
    ("POST", CHAT, {**ask("x"), "model": "y"}, "application/json", 404),
    ("POST", CHAT, ask("x"), "text/plain", 415),
    ("POST", CHAT, ask("x"), "application/x-www-form-urlencoded", 415),
    ("POST", CHAT, b" " * (line.LARGEST_BODY + 1), "application/json", 413),
    ("GET", CHAT, b"", "application/json", 405),
    ("PUT", CHAT, b"{}", "application/json", 405),
    ("OPTIONS", CHAT, b"", "application/json", 405),
    ("DELETE", "/v1/models/@dpo", b"", "application/json", 405),
    ("POST", "/v1/models", b"", "application/json", 405),
    ("GET", "/v1/models/other", b"", "application/json", 404),
    ("POST", "/v1/completions", b"{}", "application/json", 404),
    ("POST", "/v1/chat/completions/", b"{}", "application/json", 404),
    ("GET", "/", b"", "application/json", 404),
]
TABLE = [("POST", CHAT, sent, "application/json", 400) for sent, _ in WRONG] + OTHERS


@pytest.mark.parametrize(("method", "path", "sent", "kind", "status"), TABLE, ids=range(len(TABLE)))
def test_what_is_wrong_gets_its_status_and_openais_error_object(
    method: str, path: str, sent: Any, kind: str, status: int, client: httpx.Client
) -> None:
    content = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
    response = client.request(method, path, content=content, headers={"content-type": kind})
    assert response.status_code == status
    error = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["message"]
    assert error["type"] == "invalid_request_error"
    assert (error["code"] == "method_not_allowed") == (status == 405)


def test_the_table_is_long_enough() -> None:
    assert len(TABLE) >= 30


def test_head_has_no_body_and_a_wrong_method_names_the_right_ones(client: httpx.Client) -> None:
    assert client.head("/health").content == b""
    assert client.head("/v1/models").status_code == 200
    assert client.options(CHAT).headers["allow"] == "POST"


def test_requests_sent_one_behind_the_other_are_answered_in_their_order(
    url: str, engine: Engine
) -> None:
    prompts = ["Offer tea", "Offer pasta to Ravi", "about the weather"]
    bodies = [json.dumps(ask(text)).encode() for text in prompts]
    head = "POST {} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n"
    sent = [head.format(CHAT, len(body)).encode() + b"\r\n" + body for body in bodies]
    sent[-1] = sent[-1].replace(b"host: x", b"host: x\r\nconnection: close")
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(b"".join(sent))
        got = b"".join(iter(lambda: connection.recv(65536), b""))
    assert got.count(b"HTTP/1.1 200") == 3
    found = [json.loads("{" + part.partition(b"\r\n\r\n{")[2].partition(b"HTTP/1.1")[0].decode())
             for part in got.split(b"HTTP/1.1 200")[1:]]  # fmt: skip
    texts = [record["choices"][0]["message"]["content"] for record in found]
    assert texts == [answer_of(engine, text).text for text in prompts]


def test_one_connection_carries_many_requests_and_a_refusal_does_not_close_it(
    client: httpx.Client,
) -> None:
    for _ in range(3):
        assert client.post(CHAT, json=ask("x", top_k=4)).status_code == 400
        assert client.post(CHAT, json=ask("Offer tea")).status_code == 200


def open_stream(url: str, sent: dict[str, Any]) -> socket.socket:
    """A connection that asked and has the first bytes of its answer."""
    body = json.dumps(sent).encode()
    host, port = url.removeprefix("http://").split(":")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    connection.connect((host, int(port)))
    connection.sendall(
        f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n".encode()
        + body
    )
    connection.recv(16)
    return connection


def test_a_client_that_stops_reading_gives_its_place_back_and_holds_up_nobody(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completions, "STALLED_S", 0.3)
    one = Line()
    many = ask("Offer tea", stream=True, max_tokens=900, n=8, logprobs=True, top_logprobs=20)
    with running(engine, line=one) as url, open_stream(url, many):
        want = answer_of(engine, "Offer tea").text
        record = httpx.post(url + CHAT, json=ask("Offer tea"), timeout=60, trust_env=False)
        assert record.json()["choices"][0]["message"]["content"] == want
        end = time.monotonic() + 60
        while one.open and time.monotonic() < end:
            time.sleep(0.05)
        assert one.open == 0
        assert one.held == 0


def test_a_body_that_never_comes_is_a_408(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "BODY_S", 0.2)
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(
            f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            "content-length: 100\r\n\r\n{".encode()
        )
        assert b" 408 " in connection.recv(4096)


def test_bodies_together_have_a_bound(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "MOST_HELD", 50_000)
    with running(engine) as url:
        long = httpx.post(url + CHAT, json=ask("x" * 60_000), timeout=60, trust_env=False)
        assert (long.status_code, long.json()["error"]["code"]) == (503, "overloaded")
        assert httpx.post(url + CHAT, json=ask("x"), timeout=60, trust_env=False).status_code == 200


def test_while_it_ends_open_streams_go_on_and_newcomers_are_turned_away(engine: Engine) -> None:
    one = Line()
    turns = Turns(engine, max_new_tokens=12, budget=ROOMY)
    got: list[str] = []

    def read(url: str) -> None:
        sent = ask("Offer tea", stream=True, max_tokens=60)
        with httpx.stream("POST", url + CHAT, json=sent, timeout=60, trust_env=False) as response:
            got.extend(response.iter_text())

    with slow(engine, seconds=0.02), answering(turns, line=one) as url:
        reader = threading.Thread(target=read, args=(url,))
        reader.start()
        while not got:
            time.sleep(0.01)
        one.drain()
        response = httpx.post(url + CHAT, json=ask("x"), timeout=60, trust_env=False)
        assert (response.status_code, response.headers["retry-after"]) == (503, "5")
        assert response.headers["connection"] == "close"
        assert response.json()["error"]["code"] == "shutting_down"
        health = httpx.get(url + "/health", trust_env=False)
        assert (health.status_code, health.headers["connection"]) == (503, "close")
    reader.join(timeout=60)
    assert "".join(got).endswith("data: [DONE]\n\n")


def test_what_is_broken_off_is_told(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    turns = Turns(engine, max_new_tokens=12, budget=ROOMY)

    async def both(url: str) -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
            asked = [
                asyncio.ensure_future(client.post(CHAT, json=ask("x", max_tokens=900, stream=s)))
                for s in (True, False)
            ]
            await asyncio.sleep(0.5)
            turns.break_off()
            return await asyncio.gather(*asked)

    with slow(engine, seconds=0.02), answering(turns) as url:
        stream, whole = asyncio.run(both(url))
    *chunks, last = events(stream)
    assert text_of(chunks)
    assert "broke this answer off" in last["error"]["message"]
    assert whole.status_code == 500
    assert "broke this answer off" in whole.json()["error"]["message"]
    assert "failed" not in capsys.readouterr().err, "the operator wished it"
