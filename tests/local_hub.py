"""What every small Hub on this machine has in common, whatever it holds: one request, one answer.

A room's own Hub says in `answer` what it knows; here are the verbs, the headers by which the Hub's
client tells refusals apart, parts of a file, and a free port on localhost.
"""

from __future__ import annotations

import http.server
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Thread
from typing import Any


class Request(http.server.BaseHTTPRequestHandler):
    """One request; a subclass answers it."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        """Answer the request by one of the methods below."""
        raise AssertionError("a Hub has to say what it knows")

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def do_PUT(self) -> None:
        self.answer()

    def content(self) -> bytes:
        """The body of the request."""
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def send_file(self, content: bytes, *, etag: str, commit: str) -> None:
        """A file of a commit, or the part of it that the request asks for."""
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": commit}
        span = self.headers.get("Range", "").removeprefix("bytes=")
        if not span:
            return self.send(200, content, headers)
        begin, _, end = span.partition("-")
        part = content[int(begin) : int(end) + 1 if end else None]
        last = int(begin) + len(part) - 1
        return self.send(
            206, part, headers | {"Content-Range": f"bytes {begin}-{last}/{len(content)}"}
        )

    def send_json(self, value: Any, status: int = 200) -> None:
        """A JSON document."""
        self.send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def refuse(self, status: int, message: str = "", code: str = "", *, commit: str = "") -> None:
        """A refusal; `code` is the Hub's own word for it."""
        headers = {
            "X-Error-Message": message.encode("ascii", "replace").decode(),
            "X-Error-Code": code,
            "X-Repo-Commit": commit,
        }
        said = {name: value for name, value in headers.items() if value}
        self.send(status, json.dumps({"error": message}).encode(), said)

    def send(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
        """An answer; the head of it only where that was asked for."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def listening(request: type[Request], **knows: Any) -> Iterator[str]:
    """The address of a Hub that answers with `request`, whose class attributes are `knows`."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("OneHub", (request,), knows))
    server.daemon_threads = True
    # The interval is how long the end has to wait; its own is half a second.
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
