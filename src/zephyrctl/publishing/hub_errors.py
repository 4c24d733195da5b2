"""What does a failure of the Hub's client mean to somebody who publishes a model?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from zephyrctl.errors import (
    CredentialsError,
    Interrupted,
    JobFailed,
    NetworkError,
    UsageError,
    ZephyrctlError,
)

_GOES_ON = (
    "repeat the command: what was uploaded is not sent again, and readers see all of it or nothing"
)
_CLIENTS = ("httpx", "httpx2", "httpcore", "huggingface_hub", "hf_xet")

_NOBODY = (
    (("gaierror", "[errno -2]", "[errno -3]", "name or service not known", "name resolution"),
     "its name cannot be looked up; this machine has no network, or no DNS"),
    (("connection refused", "[errno 111]"), "nothing listens at its address"),
    (("network is unreachable", "no route to host", "[errno 101]", "[errno 113]"),
     "no network leads there"),
    (("certificate_verify_failed",), "its certificate is not trusted here"),
    (("connecttimeout",), "it did not answer in time"),
)  # fmt: skip
"""What a failure to connect is called by the system and the client, and what it means."""


@contextmanager
def explained(repo_id: str, *, token: str = "") -> Iterator[None]:
    """Turn the client's failures into ours; `token` is blotted out wherever a text holds it."""
    try:
        yield
    except ZephyrctlError:
        raise
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted on the way to {repo_id}", hint=_GOES_ON) from None
    except Exception as error:
        found = _of(error, repo_id, token)
        if found is None:
            raise
        raise found from None


def _of(error: Exception, repo_id: str, token: str) -> ZephyrctlError | None:
    """Our error; None for what is a fault of this program."""
    from huggingface_hub import errors

    chain = list(_chain(error))
    said = _said(chain, token)
    if any(isinstance(link, errors.OfflineModeIsEnabled) for link in chain):
        return NetworkError("HF_HUB_OFFLINE forbids the Hub", where=repo_id, hint="unset it")
    if any(isinstance(link, errors.LocalTokenNotFoundError | errors.OIDCError) for link in chain):
        return CredentialsError(f"no usable token: {said}", where=repo_id, hint="hf auth login")
    statuses = [_status(link) for link in chain]
    status = next((found for found in statuses if found is not None), None)
    if status is not None:
        return _of_status(status, said, repo_id)
    if isinstance(error, ValueError) and ("README.md" in said or "LFS batch" in said):
        return JobFailed(f"the Hub refuses the upload: {said}", where=repo_id)
    modules = {type(link).__module__.partition(".")[0] for link in chain}
    is_network = any(isinstance(link, ConnectionError | TimeoutError) for link in chain)
    if is_network or modules & set(_CLIENTS) or "xet" in said.lower():
        # After minutes of its own retries, the client does not say that there is no Xet.
        mirror = "; a mirror without Xet needs HF_HUB_DISABLE_XET=1"
        return _unreachable(chain, said) or NetworkError(
            f"the Hub did not answer as it should: {said}", where=repo_id,
            hint=_GOES_ON + (mirror if os.environ.get("HF_ENDPOINT") else ""),
        )  # fmt: skip
    return None


def _unreachable(chain: list[BaseException], said: str) -> NetworkError | None:
    """A sentence where nothing was reached at all: no such name, nobody there, no answer."""
    from huggingface_hub import constants

    links = " ".join([said, *(f"{type(link).__name__} {link}" for link in chain)]).lower()
    sentence = next((text for words, text in _NOBODY if any(word in links for word in words)), None)
    if sentence is None:
        return None
    return NetworkError(
        f"the Hub cannot be reached: {sentence}",
        where=constants.ENDPOINT,
        hint="check the network (and HF_ENDPOINT, HTTPS_PROXY where they are set), then repeat "
        "the command; --dry-run needs no network",
    )


def _of_status(status: int, said: str, repo_id: str) -> ZephyrctlError:
    if status == 401:
        return CredentialsError(f"the Hub refuses the token: {said}", where=repo_id,
                                hint="hf auth login, with a token that may write")  # fmt: skip
    if status in (402, 403):
        return CredentialsError(
            f"the token may not do this: {said}", where=repo_id,
            hint=f"a token with write access to {repo_id.partition('/')[0]}: hf auth login",
        )  # fmt: skip
    if status == 404:
        return UsageError(
            f"the Hub has no such repository or branch, or the token may not see it: {said}",
            where=repo_id,
            hint="check --repo-id and --revision",
        )
    if status in (409, 412):
        return UsageError(
            f"the repository was changed meanwhile: {said}", where=repo_id,
            hint="repeat the command, which looks at it again",
        )  # fmt: skip
    if status == 429 or status >= 500:
        return NetworkError(f"the Hub answers {status}: {said}", where=repo_id, hint=_GOES_ON)
    return JobFailed(f"the Hub refuses the upload ({status}): {said}", where=repo_id)


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


def _status(link: Any) -> int | None:
    return getattr(getattr(link, "response", None), "status_code", None)


def _said(chain: list[BaseException], token: str) -> str:
    """What the Hub itself said, else the last cause, on one line."""
    server = [str(text) for link in chain if (text := getattr(link, "server_message", None))]
    text = server[0] if server else str(chain[-1]) or type(chain[-1]).__name__
    line = " ".join(text.split())[:300]
    return line.replace(token, "…") if token else line
