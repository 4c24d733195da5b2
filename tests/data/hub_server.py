"""A small Hub on this machine: the calls that reading a data set makes, and the Hub's refusals."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.local_hub import Request, listening

COMMIT = "1234567890abcdef1234567890abcdef12345678"

_REFUSALS = {
    "gated": (403, "GatedRepo"),
    "private": (401, "RepoNotFound"),
    "absent": (404, "RepoNotFound"),
    "broken": (501, ""),
}


class Hub(Request):
    """Serves `files` as `owner/chats` at COMMIT; other names of `owner` are refused."""

    files: Mapping[str, bytes] = {}
    requests: list[str] = []

    def answer(self) -> None:
        """See `Request`."""
        body = self.content()
        path = unquote(urlsplit(self.path).path)
        self.requests.append(f"{self.command} {path}")
        for name, (status, code) in _REFUSALS.items():
            if f"owner/{name}" in path:
                return self.refuse(status, code=code, commit=COMMIT)
        if "/revision/" in path and not path.endswith((COMMIT, "/main")):
            return self.refuse(404, code="RevisionNotFound", commit=COMMIT)
        if path.startswith("/api/datasets/owner/chats"):
            return self._api(path.removeprefix("/api/datasets/owner/chats").strip("/"), body)
        _, _, rest = path.partition("/datasets/owner/chats/resolve/")
        revision, _, name = rest.partition("/")
        if revision not in (COMMIT, "main"):
            return self.refuse(404, code="RevisionNotFound", commit=COMMIT)
        if name not in self.files:
            return self.refuse(404, code="EntryNotFound", commit=COMMIT)
        content = self.files[name]
        return self.send_file(content, etag=f"{len(content):040x}", commit=COMMIT)

    def _api(self, rest: str, body: bytes) -> None:
        entries = [
            {"type": "file", "path": name, "size": len(content), "oid": f"{len(content):040x}"}
            for name, content in self.files.items()
        ]
        if rest.startswith("tree/"):
            found = self._tree("/".join(rest.split("/")[2:]), entries)
            if not found:
                return self.refuse(404, code="EntryNotFound", commit=COMMIT)
            return self.send_json(found)
        if rest.startswith("paths-info/"):
            asked = json.loads(body)["paths"]
            found = [entry for entry in entries if entry["path"] in asked]
            return self.send_json(found)
        info = {"id": "owner/chats", "sha": COMMIT, "private": False, "gated": False,
                "siblings": [{"rfilename": name} for name in self.files]}  # fmt: skip
        return self.send_json(info)

    def _tree(self, folder: str, files: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """What stands directly in a folder, or anywhere below it where all of it is asked for."""
        begin = f"{folder}/" if folder else ""
        below = [item for item in files if item["path"].startswith(begin)]
        if "recursive=true" in self.path.lower():
            return below
        folders = {item["path"][len(begin) :].partition("/") for item in below}
        names = sorted({name for name, slash, _ in folders if slash})
        direct = [item for item in below if "/" not in item["path"][len(begin) :]]
        return direct + [
            {"type": "directory", "path": begin + name, "size": 0, "oid": "0" * 40}
            for name in names
        ]


@contextmanager
def serving(files: Mapping[str, bytes]) -> Iterator[tuple[str, list[str]]]:
    """The address of a Hub that holds these files, and the requests that it gets."""
    requests: list[str] = []
    with listening(Hub, files=files, requests=requests) as address:
        yield address, requests
