"""Stand-ins for other people's systems: a server that speaks the OpenAI chat protocol.

A real HTTP server on a free local port, in threads. What it does with the n-th request is decided
by a list of faults or by a function, so that a test says exactly what goes wrong when.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[list[dict[str, str]]], str]

STATUS_OF = {
    "400": (400, "Invalid value: 'messages'"),
    "401": (401, "Incorrect API key provided"),
    "403": (403, "This key may not use the model"),
    "404": (404, "The model does not exist"),
    "429": (429, "Rate limit reached"),
    "quota": (429, "You exceeded your current quota"),
    "500": (500, "The server had an error"),
    "503": (503, "Overloaded"),
    "max_tokens": (400, "Unsupported parameter: 'max_tokens' is not supported with this model"),
    "temperature": (400, "Unsupported value: 'temperature' does not support 0 with this model"),
}
FAULTS = (*STATUS_OF, "307", "slow", "bad_json", "empty", "drop", "truncated", "ok")


def echo(messages: list[dict[str, str]]) -> str:
    """The last message, said back."""
    return f"you said: {messages[-1]['content']}"


class FakeEndpoint:
    """`with FakeEndpoint(faults=["429", "500"]) as server:` fails twice, then answers.

    `faults` names what happens to each request in turn ("ok" answers); after the list every
    request is answered. `always` is done to all of them. `requests` holds (headers, body) of all.
    """

    def __init__(
        self,
        *,
        answer: Answer = echo,
        faults: Iterable[str] = (),
        always: str | None = None,
        retry_after: str | None = None,
        delay_s: float = 0.0,
        key: str | None = None,
        model: str = "fake",
    ) -> None:
        self.answer = answer
        self.faults = list(faults)
        self.always = always
        self.retry_after = retry_after
        self.delay_s = delay_s
        self.key = key
        self.model = model
        self.requests: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.answered = 0
        self.at_once = 0
        self.most_at_once = 0
        self._lock = threading.Lock()

    def __enter__(self) -> FakeEndpoint:
        handler = type("Handler", (_Handler,), {"fake": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """The base URL, with the API's version."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def spec(self) -> str:
        """The endpoint as the configuration names it."""
        return f"openai+{self.url}:{self.model}"

    def fault_of_next(self) -> str:
        """What is done to the request that has just come."""
        with self._lock:
            if self.always is not None:
                return self.always
            return self.faults.pop(0) if self.faults else "ok"

    def enter(self, headers: dict[str, str], body: dict[str, Any]) -> None:
        """Count a request in."""
        with self._lock:
            self.requests.append((headers, body))
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)

    def leave(self) -> None:
        """Count a request out."""
        with self._lock:
            self.at_once -= 1


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: FakeEndpoint

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length", "0"))
        body = json.loads(self.rfile.read(length) or b"{}")
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.fake.enter(headers, body)
        try:
            self._serve(headers, body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            self.fake.leave()

    def _serve(self, headers: dict[str, str], body: dict[str, Any]) -> None:
        fault = self.fake.fault_of_next()
        if self.path != "/v1/chat/completions":
            fault = "404"
        if self.fake.key and headers.get("authorization") != f"Bearer {self.fake.key}":
            fault = "401"
        if self.fake.delay_s or fault == "slow":
            time.sleep(self.fake.delay_s or 0.5)
        if fault in STATUS_OF:
            self._refuse(fault)
        elif fault == "307":
            self._send(307, b"", {"location": "http://127.0.0.1:9/v1/chat/completions"})
        elif fault == "drop":
            self.close_connection = True
            self.connection.close()
        elif fault in ("bad_json", "truncated"):
            self._send(200, b'{"choices": [{"message": {"content": "half an ans')
        elif fault == "empty":
            self._send(200, json.dumps({"choices": []}).encode())
        elif body.get("stream"):
            self._stream(body)
        else:
            self._answer(body)

    def _refuse(self, fault: str) -> None:
        status, message = STATUS_OF[fault]
        code = "insufficient_quota" if fault == "quota" else None
        extra = {"retry-after": self.fake.retry_after} if self.fake.retry_after else {}
        content = json.dumps({"error": {"message": message, "code": code}}).encode()
        self._send(status, content, extra if fault == "429" else {})

    def _answer(self, body: dict[str, Any]) -> None:
        text = self.fake.answer(body["messages"])
        limit = body.get("max_tokens") or body.get("max_completion_tokens") or 10**9
        words = text.split(" ")
        cut = len(words) > limit
        text = " ".join(words[:limit]) if cut else text
        with self.fake._lock:
            self.fake.answered += 1
        record = {
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": text},
                    "finish_reason": "length" if cut else "stop",
                }
            ],
            "usage": {"prompt_tokens": 7, "completion_tokens": len(text.split(" "))},
        }
        self._send(200, json.dumps(record).encode())

    def _stream(self, body: dict[str, Any]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        for word in self.fake.answer(body["messages"]).split(" "):
            event = {"choices": [{"delta": {"content": f"{word} "}}]}
            self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
            self.wfile.flush()
            time.sleep(0.005)
        self.wfile.write(b"data: [DONE]\n\n")
        with self.fake._lock:
            self.fake.answered += 1

    def _send(self, status: int, content: bytes, extra: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        for name, value in (extra or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        del format, args
