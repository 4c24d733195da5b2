"""How does an exported folder become a repository of the Hub, in one step that can be seen whole?

The files go up in one commit (`create_commit`), not by `upload_folder`, which commits a large
folder in parts: a reader never meets half a model, and no weights without their card. Large files
go into the Hub's storage first, by their content; the commit then names them. What an interrupted
upload brought there is not sent again by the next one, so the same command goes on.

A commit adds to what a repository holds. Files of an older model that the new one has not, such as
shards, would be loaded in place of the new ones; they are removed in the same commit, and stay in
the history.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zephyrctl import environment
from zephyrctl.errors import CredentialsError, JobFailed, NetworkError, UsageError
from zephyrctl.publishing.files import CARD, File, is_allowed, is_weights
from zephyrctl.publishing.hub_errors import explained

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_KEPT = (CARD, "LICENSE")
_BRANCH = re.compile(r"(?!.*(\.\.|//|@\{|\.lock$|/$))[A-Za-z0-9][A-Za-z0-9._/-]{0,99}")


@dataclass(frozen=True)
class Destination:
    """Where a model goes. `revision` None is the branch `main`."""

    repo_id: str
    private: bool = True
    revision: str | None = None
    create_pr: bool = False
    message: str = ""


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository: its git blob, and the SHA-256 of a large one."""

    blob: str | None
    sha256: str | None


@dataclass(frozen=True)
class Remote:
    """What stands there. `head` is the commit that the upload would follow."""

    exists: bool = False
    private: bool = True
    has_branch: bool = False
    head: str | None = None
    files: Mapping[str, RemoteFile] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What an upload does to each file."""

    new: tuple[File, ...] = ()
    replaced: tuple[File, ...] = ()
    same: tuple[File, ...] = ()
    removed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether all of it is there already."""
        return not (self.new or self.replaced or self.removed)


@dataclass(frozen=True)
class Published:
    """A commit that can be seen, or a pull request that can be merged."""

    url: str
    commit: str
    pull_request: str | None


def destination(
    repo_id: str, *, private: bool, revision: str | None, create_pr: bool, message: str
) -> Destination:
    """A destination that the Hub can have; UsageError for what cannot be one."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo_id)
    except HFValidationError:
        problem = "is no id of a repository (letters, digits, '-', '_' and '.', at most 96)"
    else:
        problem = "" if "/" in repo_id else "does not say whose repository it is"
    if problem:
        raise UsageError(f"'{repo_id}' {problem}", where="--repo-id", hint="--repo-id NAME/REPO")
    if revision is not None and not _BRANCH.fullmatch(revision):
        raise UsageError(f"'{revision}' cannot be the name of a branch", where="--revision",
                         hint="--revision v1")  # fmt: skip
    if create_pr and revision not in (None, "main"):
        raise UsageError("a pull request is opened against main", where="--revision",
                         hint="leave out --revision or --create-pr")  # fmt: skip
    if not message.strip():
        raise UsageError("a commit needs a message", where="--message")
    return Destination(repo_id, private, revision, create_pr, message.strip())


def require_online() -> None:
    """NetworkError where the environment forbids the Hub."""
    for name in ("ZEPHYRCTL_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if environment.is_set(name):
            raise NetworkError(f"{name} forbids the Hub", hint=f"unset {name}, or --dry-run")


def find_token(repo_id: str) -> str:
    """The user's token, from HF_TOKEN or where `hf auth login` left it; CredentialsError where
    there is none."""
    from huggingface_hub import get_token

    with explained(repo_id):
        token = get_token()
    if not token:
        raise CredentialsError(
            "publishing needs a token that may write, and there is none",
            where="HF_TOKEN, or the file that `hf auth login` writes",
            hint="hf auth login",
        )
    return token


def look(api: HfApi, where: Destination, *, token: str) -> Remote:
    """What stands at the destination now; CredentialsError for a token that may not write."""
    from huggingface_hub import errors

    with explained(where.repo_id, token=token):
        me = api.whoami()
        role = ((me.get("auth") or {}).get("accessToken") or {}).get("role")
        if role == "read":
            raise CredentialsError("the token may only read", where=where.repo_id,
                                   hint="hf auth login, with a token that may write")  # fmt: skip
        try:
            main: Any = api.model_info(where.repo_id, files_metadata=True)
        except errors.RepositoryNotFoundError:
            _refuse_other_namespace(me, where)
            return Remote(private=where.private)
        if where.revision in (None, "main"):
            return _remote(main, has_branch=True)
        try:
            branch: Any = api.model_info(
                where.repo_id, revision=where.revision, files_metadata=True
            )
        except errors.RevisionNotFoundError:
            return _remote(main, has_branch=False)
        return _remote(branch, has_branch=True)


def _refuse_other_namespace(me: Mapping[str, Any], where: Destination) -> None:
    """A new repository is made in one's own name, or in that of an organization."""
    mine = [me.get("name"), *(org.get("name") for org in me.get("orgs") or ())]
    owner = where.repo_id.partition("/")[0]
    if None not in mine and owner.lower() not in [str(name).lower() for name in mine]:
        raise CredentialsError(
            f"there is no {where.repo_id}, and the token is not of {owner}",
            where=where.repo_id,
            hint=f"--repo-id {mine[0]}/{where.repo_id.partition('/')[2]}, or another token",
        )


def _remote(info: Any, *, has_branch: bool) -> Remote:
    files = {
        file.rfilename: RemoteFile(file.blob_id, file.lfs.sha256 if file.lfs else None)
        for file in info.siblings or []
    }
    return Remote(True, bool(info.private), has_branch, info.sha, files)


def refuse_other_visibility(remote: Remote, where: Destination) -> None:
    """UsageError where a standing repository is not as visible as was asked for: an upload does
    not change that, and must not show to all what was meant for a few."""
    if not remote.exists:
        if where.create_pr:
            raise UsageError("there is no such repository to open a pull request in",
                             where=where.repo_id, hint="leave out --create-pr")  # fmt: skip
        return
    if where.private and not remote.private:
        raise UsageError("the repository is public", where=where.repo_id,
                         hint="--public, where everybody may see the model")  # fmt: skip
    if not where.private and remote.private:
        raise UsageError("the repository stands and is private; an upload does not change that",
                         where=where.repo_id,
                         hint="leave out --public, or make it public in its settings")  # fmt: skip


def plan(files: Sequence[File], folder: Path, remote: Remote) -> Plan:
    """What an upload of these files does to what stands there."""
    ours = {file.name for file in files}
    fresh = [file for file in files if file.name not in remote.files]
    both = [file for file in files if file.name in remote.files]
    same = [file for file in both if _is_same(file, folder, remote.files[file.name])]
    others = [name for name in remote.files if name not in ours]
    removed = [
        name for name in others if (is_allowed(name) or is_weights(name)) and name not in _KEPT
    ]
    return Plan(
        tuple(fresh), tuple(file for file in both if file not in same), tuple(same),
        tuple(removed), tuple(name for name in others if name not in removed),
    )  # fmt: skip


def _is_same(file: File, folder: Path, there: RemoteFile) -> bool:
    if there.sha256 is not None:
        return there.sha256 == file.sha256
    return there.blob == _git_blob(folder / file.name)


def _git_blob(path: Path) -> str:
    """The SHA-1 under which git keeps a file."""
    total = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(2**20):
            total.update(block)
    return total.hexdigest()


def publish(
    api: HfApi,
    folder: Path,
    plan: Plan,
    *,
    remote: Remote,
    where: Destination,
    token: str,
    bars: bool,
) -> Published:
    """Upload in one commit, and look whether what stands then is what lies here; `bars` shows the
    client's own progress.

    NetworkError, with nothing to be seen yet, where the line fails before that.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete
    from huggingface_hub.utils import disable_progress_bars

    if not bars:
        disable_progress_bars()
    with explained(where.repo_id, token=token):
        head = remote.head
        if not remote.exists:
            api.create_repo(where.repo_id, private=where.private, repo_type="model")
            head = api.model_info(where.repo_id).sha
        branch = where.revision or "main"
        if branch != "main" and not (remote.exists and remote.has_branch):
            api.create_branch(where.repo_id, branch=branch)
        sent = [*plan.new, *plan.replaced]
        done: Any = api.create_commit(
            where.repo_id,
            [
                *(CommitOperationAdd(file.name, str(folder / file.name)) for file in sent),
                *(CommitOperationDelete(name) for name in plan.removed),
            ],
            commit_message=where.message,
            revision=branch,
            create_pr=where.create_pr,
            parent_commit=head,
        )
        _check(api, folder, [*sent, *plan.same], done.oid, where)
    address = f"{api.endpoint}/{where.repo_id}"
    return Published(address, done.oid, done.pr_url)


def _check(
    api: HfApi, folder: Path, files: Sequence[File], commit: str, where: Destination
) -> None:
    """JobFailed where the commit holds other files than the folder."""
    there = _remote(
        api.model_info(where.repo_id, revision=commit, files_metadata=True), has_branch=True
    ).files
    other = [
        file.name
        for file in files
        if file.name not in there or not _is_same(file, folder, there[file.name])
    ]
    if other:
        raise JobFailed(
            f"the Hub holds something else than what was uploaded: {', '.join(other[:3])}",
            where=f"{where.repo_id} at {commit[:12]}",
            hint="repeat the command; or set the branch back to the commit before",
        )
