"""GitHub's service for single files and the Hub, on this machine: real HTTP, with faults."""

from __future__ import annotations

import hashlib
import http.server
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Thread

from zephyrctl.evaluation.files.pinned import PinnedFile

REVISION = "1234567890abcdef1234567890abcdef12345678"


class Official(http.server.BaseHTTPRequestHandler):
    """Serves `files` by path; `faults` names what happens to each GET of a path in turn."""

    protocol_version = "HTTP/1.1"
    files: Mapping[str, bytes] = {}
    faults: dict[str, list[str]] = {}
    requests: list[str] = []

    def do_HEAD(self) -> None:
        self._send(200 if self.path == "/" or self.path in self.files else 404, b"")

    def do_GET(self) -> None:
        self.requests.append(self.path)
        fault = self.faults[self.path].pop(0) if self.faults.get(self.path) else ""
        content = self.files.get(self.path)
        if fault.isdigit():
            self._send(int(fault), b"no")
        elif content is None:
            self._send(404, b"404: Not Found")
        elif fault == "wrong":
            self._send(200, b"<html>sign in to this network</html>")
        elif fault == "truncated":
            self._send(200, content[: len(content) // 2], length=len(content))
            self.close_connection = True
        elif fault == "drip":
            self._send(200, content[:3], length=len(content))
            self.wfile.flush()
            time.sleep(60)
        else:
            self._send(200, content)

    def _send(self, status: int, content: bytes, *, length: int | None = None) -> None:
        whole = self.files.get(self.path, b"")
        size = len(whole) if self.command == "HEAD" else len(content)
        self.send_response(status)
        self.send_header("Content-Length", str(size if length is None else length))
        self.send_header("ETag", f'"{hashlib.sha256(whole).hexdigest()}"')
        self.send_header("X-Repo-Commit", REVISION)
        if status == 404:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serve(
    files: Mapping[str, bytes], faults: Mapping[str, list[str]] | None = None
) -> Iterator[tuple[str, list[str]]]:
    """The address of a server of `files`, and the paths it was asked for."""
    requests: list[str] = []
    state = {"files": files, "faults": dict(faults or {}), "requests": requests}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Official,), state))
    server.daemon_threads = True
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", requests
    finally:
        server.shutdown()
        server.server_close()


def made(name: str, content: bytes, *, service: str = "github") -> PinnedFile:
    """A pinned file of one's own making."""
    return PinnedFile(
        path=name,
        service="hub" if service == "hub" else "github",
        repository="owner/questions",
        revision=REVISION,
        remote=f"data/{name}",
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        licence="CC0-1.0",
    )


def address(file: PinnedFile) -> str:
    """Where the official place has a file."""
    if file.service == "hub":
        return f"/datasets/{file.repository}/resolve/{file.revision}/{file.remote}"
    return f"/{file.repository}/{file.revision}/{file.remote}"
