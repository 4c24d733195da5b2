"""How does one public file get here, and is it the right one?

A file of the Hub comes through its client, so that HF_HOME, HF_ENDPOINT, HF_TOKEN and
HF_HUB_OFFLINE mean here what they mean elsewhere; a file of GitHub comes from its service for
single files, or from the mirror in ZEPHYRCTL_GITHUB_URL. Nothing is kept before its SHA-256 is
right.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zephyrctl import environment
from zephyrctl.errors import (
    CredentialsError,
    DataError,
    DiskFull,
    EnvironmentProblem,
    NetworkError,
    ZephyrctlError,
    quoted,
)
from zephyrctl.evaluation.files.pinned import PinnedFile
from zephyrctl.models import hub
from zephyrctl.runs.atomic import NO_SPACE
from zephyrctl.runs.digests import digest_bytes
from zephyrctl.sizes import MIB, size_words

PAUSES_S = (1.0, 4.0)
"""Waits before the second and the third try, in seconds."""
GITHUB_URL = "https://raw.githubusercontent.com"
_TIMEOUT_S = 20.0
_DEADLINE_S = 300.0
_LARGEST = 64 * MIB
_USER = re.compile(r"//[^/@\s]+@")
"""Name and password of a mirror, which no error may tell."""
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


class _PassingError(Exception):
    """Something that the next try may mend; the text says what happened."""


def fetch(file: PinnedFile, *, pauses: Sequence[float] = PAUSES_S) -> bytes:
    """The content of `file`, its digest checked.

    DataError with both digests for wrong bytes, NetworkError for what cannot be reached, and
    CredentialsError where the Hub asks for an account.
    """
    read = _from_github if file.service == "github" else _from_hub
    failure: ZephyrctlError | None = None
    for place in range(len(pauses) + 1):
        if place:
            time.sleep(pauses[place - 1])
        try:
            content = read(file, again=failure is not None)
        except _PassingError as error:
            failure = NetworkError(
                f"{file.repository} did not deliver {file.remote}: {error}", where=file.place
            )
            continue
        if digest_bytes(content) == file.sha256:
            return content
        failure = wrong_digest(file, content, where=file.place)
    assert failure is not None  # every way out of the loop without a return sets it
    raise failure


def wrong_digest(file: PinnedFile, content: bytes, *, where: str) -> DataError:
    """The error for a file that is another one than the pinned."""
    return DataError(
        f"{Path(file.path).name} is not the pinned file: its sha256 is {digest_bytes(content)}, "
        f"expected {file.sha256}",
        where=where,
        hint="to evaluate with an edited copy, name its folder: --set eval.data_dir=FOLDER",
    )


# ------------------------------------------------------------------------------------- GitHub


def github_url() -> str:
    """GitHub's service for single files, or the mirror that the environment names."""
    return os.environ.get("ZEPHYRCTL_GITHUB_URL", "").rstrip("/") or GITHUB_URL


def _from_github(file: PinnedFile, *, again: bool) -> bytes:
    del again  # nothing is kept between two tries
    if not environment.network_allowed():
        raise NetworkError("ZEPHYRCTL_OFFLINE=1 forbids the network", where=file.place)
    import httpx

    url = f"{github_url()}/{file.repository}/{file.revision}/{file.remote}"
    where = _USER.sub("//", url)
    try:
        with httpx.stream("GET", url, timeout=_TIMEOUT_S, follow_redirects=True) as reply:
            if reply.status_code in _PASSING:
                raise _PassingError(f"HTTP {reply.status_code}")
            if reply.status_code != 200:
                raise NetworkError(
                    f"{file.repository} did not deliver {file.remote}: HTTP {reply.status_code}",
                    where=where,
                )
            return _body(reply, where=where)
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise NetworkError(f"no address: {error}", where=f"ZEPHYRCTL_GITHUB_URL: {where}") from None
    except httpx.HTTPError as error:
        raise _PassingError(_words(error)) from None


def _body(reply: Any, *, where: str) -> bytes:
    """The body of a reply, within the bounds of size and time."""
    deadline = time.monotonic() + _DEADLINE_S
    parts: list[bytes] = []
    size = 0
    for part in reply.iter_bytes():
        parts.append(part)
        size += len(part)
        if size > _LARGEST:
            raise NetworkError(f"the reply has more than {size_words(_LARGEST)}", where=where)
        if time.monotonic() > deadline:
            raise _PassingError(f"not finished after {_DEADLINE_S:.0f} s")
    return b"".join(parts)


# ---------------------------------------------------------------------------------------- Hub


def _from_hub(file: PinnedFile, *, again: bool) -> bytes:
    """A file from the Hub's cache, else by its client, which itself outlasts passing faults.

    `again` replaces a copy that was refused.
    """
    kept = _hub_cached(file)
    if kept is not None and not again:
        return kept
    if not environment.hub_allowed():
        name = "HF_HUB_OFFLINE=1" if environment.network_allowed() else "ZEPHYRCTL_OFFLINE=1"
        raise NetworkError(f"{name} forbids the Hub", where=file.place)
    if not hub.answers():
        raise NetworkError("the Hub does not answer", where=file.place)
    from huggingface_hub import errors

    try:
        return _hub_file(file, force_download=again)
    except errors.GatedRepoError:
        raise CredentialsError(
            f"{file.repository} is gated: its licence has to be accepted with your account",
            where=file.place,
            hint="accept it on its page, then: hf auth login",
        ) from None
    # The client reports some failures of a forced download as ValueError.
    except (OSError, ValueError) as error:
        raise _hub_fault(error, file) from None
    except Exception as error:
        # Failures of transport come in classes of the client's own HTTP library.
        if type(error).__module__.partition(".")[0] not in ("httpx", "httpx2", "huggingface_hub"):
            raise
        raise _hub_fault(error, file) from None


def _hub_cached(file: PinnedFile) -> bytes | None:
    """A file in the Hub's cache; read without the client, which may ask the network first."""
    repository = f"datasets--{file.repository.replace('/', '--')}"
    path = environment.hub_cache() / repository / "snapshots" / file.revision / file.remote
    return path.read_bytes() if path.is_file() else None


def _hub_file(file: PinnedFile, *, force_download: bool) -> bytes:
    from huggingface_hub import hf_hub_download
    from tqdm import tqdm

    class NoBar(tqdm):
        def __init__(self, *args: Any, **settings: Any) -> None:
            super().__init__(*args, **{**settings, "disable": True})

    path = hf_hub_download(
        file.repository,
        file.remote,
        repo_type="dataset",
        revision=file.revision,
        force_download=force_download,
        tqdm_class=NoBar,
    )
    return Path(path).read_bytes()


def _hub_fault(error: Exception, file: PinnedFile) -> ZephyrctlError:
    """What ended a download: this machine's disk, or the Hub."""
    cache = str(environment.hub_cache())
    if isinstance(error, OSError) and error.errno in NO_SPACE:
        return DiskFull(
            "no space left in the Hub's cache", where=cache, hint=f"df -h {quoted(cache)}"
        )
    if isinstance(error, OSError) and error.errno is not None:
        return EnvironmentProblem(
            f"the Hub's cache cannot be used: {error.strerror or error}",
            where=cache,
            hint="HF_HOME=/a/folder/of/yours in front of the command",
        )
    return NetworkError(
        f"the Hub did not deliver {file.remote} of {file.repository}: {_words(error)}",
        where=file.place,
    )


def _words(error: Exception) -> str:
    """The first line of an error, or its kind where it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
