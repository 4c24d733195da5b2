"""A small Hub on this machine that is written to: the calls that publishing and loading make.

Repositories with branches, commits and pull requests, tokens with roles, and large files either by
Git LFS's batch protocol with basic transfer, or by Xet into a folder: its client has a storage of
its own for `local://`, so that only the tokens come from here. A commit is refused where it follows
another head than it says, or names a large file that was not uploaded. `faults` holds what goes
wrong, once each.
"""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml
from tests.local_hub import Request, listening

LARGE = ".safetensors"
_IN_XET = b"in Xet's storage: "
WRITER, READER, STRANGER = "hf_" + "w" * 34, "hf_" + "r" * 34, "hf_" + "s" * 34
_USERS = {WRITER: ("me", "write"), READER: ("me", "read"), STRANGER: ("someone", "write")}


@dataclass
class Repo:
    """One repository: what each commit holds, and where its branches point."""

    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, branch: str, files: dict[str, bytes], message: str) -> str:
        """Add a commit to a branch."""
        oid = hashlib.sha1(f"{branch} {len(self.commits)}".encode()).hexdigest()
        self.commits[oid] = files
        self.branches[branch] = oid
        self.messages.append(message)
        return oid

    def at(self, revision: str) -> str | None:
        """The commit of a branch or of its own name."""
        return self.branches.get(revision, revision if revision in self.commits else None)


@dataclass
class State:
    """All that the Hub knows, and what was asked of it."""

    repos: dict[str, Repo] = field(default_factory=dict)
    storage: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)
    address: str = ""
    closing: bool = False
    xet: Path | None = None
    """Where Xet keeps what is uploaded; None for a Hub that speaks LFS only."""

    def asked(self, method: str, part: str) -> list[Any]:
        """The bodies of requests whose path holds `part`."""
        return [body for verb, path, body in self.requests if verb == method and part in path]

    def add(self, repo_id: str, files: dict[str, bytes], *, private: bool = True) -> Repo:
        """A repository that stands already."""
        repo = self.repos[repo_id] = Repo(private)
        repo.commit("main", {".gitattributes": b"*.safetensors filter=lfs\n", **files}, "initial")
        return repo

    def take(self, fault: str) -> bool:
        """Whether this goes wrong now; once."""
        with self.lock:
            if fault in self.faults:
                self.faults.remove(fault)
                return True
        return False


class Hub(Request):
    """One request."""

    state: State

    def answer(self) -> None:
        """See `Request`."""
        split = urlsplit(self.path)
        path = unquote(split.path)
        self.query = parse_qs(split.query)
        self.user, self.role = _USERS.get(
            self.headers.get("Authorization", "").removeprefix("Bearer "), ("", "")
        )
        if path.startswith("/storage/"):
            return self._store(path.removeprefix("/storage/"))
        body = self._body()
        self.state.requests.append((self.command, path, body))
        if path == "/api/whoami-v2":
            return self._whoami()
        if path == "/api/validate-yaml":
            return self._validate(body["content"])
        if path == "/api/repos/create":
            return self._create(body)
        if path.startswith("/api/models/"):
            owner, name, *rest = path.removeprefix("/api/models/").split("/")
            return self._model(f"{owner}/{name}", "/".join(rest), body)
        if "/info/lfs/objects/" in path:
            return self._lfs(path, body)
        if "/resolve/" in path:
            repo_id, _, rest = path[1:].partition("/resolve/")
            return self._resolve(repo_id, rest)
        return self.refuse(404, "no such page")

    def _body(self) -> Any:
        content = self.content()
        if "ndjson" in self.headers.get("Content-Type", ""):
            return [json.loads(line) for line in content.splitlines()]
        return json.loads(content) if content else None

    def _whoami(self) -> None:
        if not self.user:
            return self.refuse(401, "Invalid credentials in Authorization header")
        token = {"displayName": "a token", "role": self.role}
        return self.send_json({"name": self.user, "orgs": [], "auth": {"accessToken": token}})

    def _validate(self, card: str) -> None:
        head = yaml.safe_load(card.split("---\n")[1])
        wrong = [] if isinstance(head, dict) and "license" in head else [{"message": "no license"}]
        return self.send_json({"errors": wrong, "warnings": []}, 400 if wrong else 200)

    def _create(self, body: dict[str, Any]) -> None:
        if body["organization"] != self.user:
            return self.refuse(403, f"You don't have the rights to create {body['organization']}/…")
        repo_id = f"{body['organization']}/{body['name']}"
        if repo_id in self.state.repos:
            return self.refuse(409, "You already created this model repo")
        self.state.add(repo_id, {}, private=body.get("visibility") != "public")
        return self.send_json({"url": f"{self.state.address}/{repo_id}"})

    def _may_see(self, repo_id: str) -> Repo | None:
        repo = self.state.repos.get(repo_id)
        if repo is None or (repo.private and self.user != repo_id.split("/")[0]):
            return None
        return repo

    def _model(self, repo_id: str, rest: str, body: Any) -> None:
        repo = self._may_see(repo_id)
        if repo is None:
            return self.refuse(404, "Repository not found", "RepoNotFound")
        what, _, after = rest.partition("/")
        if what == "branch":
            repo.branches[after] = repo.branches["main"]
            return self.send_json({})
        if what == "preupload":
            return self._preupload(repo, after, body)
        if what == "xet-write-token" and self.state.xet is not None:
            until = int(time.time()) + 3600
            where = f"local://{self.state.xet}"
            return self.send_json({"accessToken": "x", "exp": until, "casUrl": where})
        if what == "commit":
            return self._commit(repo, repo_id, after, body)
        revision, _, folder = after.partition("/") if what == "tree" else (after or "main", "", "")
        oid = repo.at(revision)
        if oid is None:
            return self.refuse(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        files = repo.commits[oid]
        if what == "tree":
            return self._tree(files, folder)
        siblings = [{"rfilename": name, **_entry(name, files[name])} for name in files]
        info = {"id": repo_id, "sha": oid, "private": repo.private, "siblings": siblings}
        return self.send_json(info)

    def _tree(self, files: dict[str, bytes], folder: str) -> None:
        found = [
            {"type": "file", "path": name, "oid": _entry(name, content)["blobId"],
             **_entry(name, content)}
            for name, content in files.items() if name.startswith(folder)
        ]  # fmt: skip
        if folder and not found:
            return self.refuse(404, f"{folder} does not exist", "EntryNotFound")
        return self.send_json(found)

    def _preupload(self, repo: Repo, revision: str, body: dict[str, Any]) -> None:
        oid = repo.at(revision)
        if oid is None:
            return self.refuse(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        there = repo.commits[oid]
        found = []
        for file in body["files"]:
            mode = "lfs" if file["path"].endswith(LARGE) else "regular"
            entry = {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}
            if file["path"] in there:
                about = _entry(file["path"], there[file["path"]])
                entry["oid"] = about["lfs"]["sha256"] if mode == "lfs" else about["blobId"]
            found.append(entry)
        return self.send_json({"files": found})

    def _lfs(self, path: str, body: dict[str, Any]) -> None:
        if self.role != "write":
            return self.refuse(403, "this token may not write")
        if path.endswith("/verify"):
            return self.send_json({}, 200 if body["oid"] in self.state.storage else 404)
        verify = {"href": f"{self.state.address}{path.replace('batch', 'verify')}"}
        objects: list[dict[str, Any]] = [dict(one) for one in body["objects"]]
        for one in objects:
            if one["oid"] not in self.state.storage:
                upload = {"href": f"{self.state.address}/storage/{one['oid']}"}
                one["actions"] = {"upload": upload, "verify": verify}
        return self.send_json({"transfer": "basic", "objects": objects})

    def _store(self, oid: str) -> None:
        length = int(self.headers["Content-Length"])
        content = b""
        if self.state.take("storage is slow"):  # so that the user gives up
            while len(content) < length and not self.state.closing:
                content += self.rfile.read(min(length - len(content), max(1, length // 200)))
                time.sleep(0.1)
        content += self.rfile.read(length - len(content))
        if self.state.take("storage refuses"):
            return self.refuse(403, "signature expired")
        if hashlib.sha256(content).hexdigest() != oid:
            return self.refuse(400, "the content has another digest")
        self.state.requests.append(("PUT", f"/storage/{oid}", length))
        self.state.storage[oid] = content
        return self.send_json({})

    def _commit(self, repo: Repo, repo_id: str, branch: str, lines: list[Any]) -> None:
        if self.role != "write":
            return self.refuse(403, "Forbidden: you must use a write token to upload")
        if self.state.take("commit is cut off"):
            return self.connection.shutdown(socket.SHUT_RDWR)
        header = lines[0]["value"]
        head = repo.branches[branch]
        if header.get("parentCommit", head) != head:
            return self.refuse(412, "A commit has happened since. Please refresh and try again.")
        files = dict(repo.commits[head])
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "deletedFile":
                del files[value["path"]]
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif self.state.xet is not None:
                files[value["path"]] = _IN_XET + f"{value['oid']} {value['size']}".encode()
            elif value["oid"] in self.state.storage:
                files[value["path"]] = self.state.storage[value["oid"]]
            else:
                return self.refuse(400, f"the LFS object of {value['path']} was not uploaded")
        if self.state.take("commit is garbled"):
            files = {name: content + b"?" for name, content in files.items()}
        pull = "create_pr" in self.query
        target = f"refs/pr/{len(repo.commits)}" if pull else branch
        oid = repo.commit(target, files, header["summary"])
        address = f"{self.state.address}/{repo_id}"
        return self.send_json(
            {
                "commitUrl": f"{address}/commit/{oid}",
                "commitOid": oid,
                "pullRequestUrl": f"{address}/discussions/{target[8:]}" if pull else None,
            }
        )

    def _resolve(self, repo_id: str, rest: str) -> None:
        repo = self._may_see(repo_id)
        if repo is None:
            return self.refuse(404, "Repository not found", "RepoNotFound")
        revision, _, name = rest.partition("/")
        oid = repo.at(revision)
        if oid is None:
            return self.refuse(404, "Invalid rev id", "RevisionNotFound")
        content = repo.commits[oid].get(name)
        if content is None:
            return self.refuse(404, "Entry not found", "EntryNotFound", commit=oid)
        return self.send_file(content, etag=_entry(name, content)["blobId"], commit=oid)


def _entry(name: str, content: bytes) -> dict[str, Any]:
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    found: dict[str, Any] = {"size": len(content), "blobId": blob}
    if name.endswith(LARGE):
        sha256, size = hashlib.sha256(content).hexdigest(), len(content)
        if content.startswith(_IN_XET):
            sha256, size = content.removeprefix(_IN_XET).decode().split()
        found["lfs"] = {"sha256": sha256, "oid": sha256, "size": int(size), "pointerSize": 130}
    return found


@contextmanager
def serving() -> Iterator[State]:
    """A Hub that holds nothing yet."""
    state = State()
    with listening(Hub, state=state) as state.address:
        try:
            yield state
        finally:
            state.closing = True
