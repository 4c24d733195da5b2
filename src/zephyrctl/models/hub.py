"""Is a model in the Hub's cache, and how does it get there?"""

from __future__ import annotations

import errno
import functools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zephyrctl import environment
from zephyrctl.errors import CredentialsError, DataError, DiskFull, NetworkError, UsageError, quoted
from zephyrctl.models import remote_code
from zephyrctl.runs import references, trusted

PROBE_S = 3.0
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_CARD = "README.md"
"""It says the licence."""
_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.tiktoken", _CARD)
_SKIPPED = ("original/*", "onnx/*", "*.gguf", "*.msgpack", "*.h5")


@dataclass(frozen=True)
class Snapshot:
    """One commit of a Hub model on this disk."""

    path: Path
    commit: str


def cached(model: str, *, revision: str | None) -> Snapshot | None:
    """The model in the Hub's cache, or None where it is absent or a weight file is missing."""
    folder = environment.hub_cache() / f"models--{model.replace('/', '--')}"
    revision = revision or "main"
    commit = revision
    if not _COMMIT.fullmatch(revision):
        try:
            commit = (folder / "refs" / revision).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return None
    path = folder / "snapshots" / commit
    if not is_complete(path) or remote_code.is_missing(model, commit, path):
        return None
    return Snapshot(path, commit)


def is_complete(folder: Path) -> bool:
    """Whether a model folder has its configuration and every weight file that it names, as
    safetensors."""
    if (folder / "adapter_config.json").is_file():
        return (folder / "adapter_model.safetensors").is_file()
    if not (folder / "config.json").is_file():
        return False
    if (folder / "model.safetensors").is_file():
        return True
    index = folder / "model.safetensors.index.json"
    return index.is_file() and all((folder / shard).is_file() for shard in _shards(index))


def _shards(index: Path) -> set[str]:
    """The files of weights that an index names."""
    try:
        return set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"the index of the weights cannot be read ({error})",
            where=str(index),
            hint="copy or download the model again",
        ) from error


@functools.cache
def answers() -> bool:
    """Whether the Hub (or the mirror in HF_ENDPOINT) answers: one HEAD, three seconds, once."""
    if not environment.hub_allowed():
        return False
    import httpx
    from huggingface_hub import constants

    try:
        reply = httpx.head(constants.ENDPOINT, timeout=PROBE_S, follow_redirects=False)
    except (httpx.HTTPError, httpx.InvalidURL):
        return False
    return reply.status_code < 500


def download(model: str, *, revision: str | None, say: Callable[[str], None]) -> Snapshot:
    """Fetch one commit of a model into the Hub's cache: configuration, tokenizer, weights.

    Weights come as safetensors only; UsageError where a repository has no others than pickles.
    Python files come along only from a commit that the user trusts.
    """
    from huggingface_hub import HfApi, snapshot_download

    info: Any = _call(model, revision, lambda: HfApi().model_info(model, revision=revision))
    names = [file.rfilename for file in info.siblings or []]
    if not any(name.endswith(".safetensors") for name in names):
        _refuse_pickles(model, names)
    patterns: list[str] = [*_FILES]
    if trusted.Trusted(model, info.sha) in trusted.commits():
        patterns.append("*.py")
    say(f"downloading {model} at {info.sha[:12]} from the Hub")
    path = _call(
        model,
        revision,
        lambda: snapshot_download(
            model, revision=info.sha, allow_patterns=patterns, ignore_patterns=list(_SKIPPED)
        ),
    )
    snapshot = Snapshot(Path(path), info.sha)
    if not is_complete(snapshot.path):
        raise UsageError(
            f"{model} holds no model that transformers can load",
            where=str(snapshot.path),
            hint="choose a repository with config.json and safetensors weights",
        )
    _remember(snapshot, revision or "main")
    return snapshot


def _refuse_pickles(model: str, names: list[str]) -> None:
    found = [name for name in names if name.endswith(references.PICKLED)]
    if found:
        raise references.only_pickles(found[0], where=model)


def _remember(snapshot: Snapshot, revision: str) -> None:
    """Write the cache's own reference from a branch or tag to its commit, as the Hub client does.

    The snapshot was fetched by commit, for which the client writes none.
    """
    from zephyrctl.runs import atomic

    if not _COMMIT.fullmatch(revision):
        atomic.write_text(snapshot.path.parents[1] / "refs" / revision, snapshot.commit)


def _call(model: str, revision: str | None, request: Callable[[], Any]) -> Any:
    """Run one Hub request and give its failures our names."""
    from huggingface_hub import errors

    where = model if revision is None else f"{model} at {revision}"
    try:
        return request()
    except errors.GatedRepoError:
        raise CredentialsError(
            f"{model} is gated: its licence has to be accepted with your account",
            where=where,
            hint=f"accept it on the page of {model}, then: hf auth login",
        ) from None
    except errors.RevisionNotFoundError:
        raise UsageError(
            f"{model} has no revision '{revision}'", where=where, hint="set model.revision"
        ) from None
    except errors.RepositoryNotFoundError:
        raise UsageError(
            f"the Hub has no model '{model}', or it is private and no token is set",
            where=where,
            hint="check the spelling, or: hf auth login",
        ) from None
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFull(
                f"no space left for {model}",
                where=str(environment.hub_cache()),
                hint=f"df -h {quoted(environment.hub_cache())}",
            ) from None
        raise NetworkError(
            f"the Hub did not deliver {model}: {error}",
            where=where,
            hint="repeat the command; finished files are kept",
        ) from None
    except Exception as error:
        # The Hub's client raises the errors of the HTTP library it is built on, whichever that is.
        if type(error).__module__.partition(".")[0] not in ("httpx", "httpx2", "huggingface_hub"):
            raise
        raise NetworkError(
            f"the Hub did not deliver {model}: {error}",
            where=where,
            hint="repeat the command; finished files are kept",
        ) from None
