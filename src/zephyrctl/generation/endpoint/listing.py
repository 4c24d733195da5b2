"""Which models does a service list, and what does it say of them?"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from zephyrctl.errors import NetworkError
from zephyrctl.generation.endpoint.address import (
    find_key,
    is_loopback,
    refuse_offline,
    without_password,
)
from zephyrctl.generation.endpoint.connection import body_within
from zephyrctl.generation.endpoint.failures import Refusal, unreached

_CONTEXT = ("max_model_len", "context_length", "max_context_length")
"""Where a model's context stands: as vLLM, SGLang and our own server say it, routers, LM Studio."""


@dataclass(frozen=True)
class Listed:
    """A model of a service; `context` is in tokens, None where it is not said."""

    name: str
    context: int | None = None


def models_at(
    base_url: str,
    *,
    timeout_s: float = 10.0,
    api_key_file: str | None = None,
    key_option: str | None = None,
) -> list[str]:
    """The names that a service lists under `/models`; empty where it lists none. CredentialsError
    where it refuses the key. `key_option` is as in `key_hint`."""
    url = base_url.rstrip("/")
    key = find_key(url, api_key_file, os.environ, key_option=key_option)
    headers = {"authorization": f"Bearer {key}"} if key else {}
    refuse_offline(url, os.environ)
    listed = listed_at(url, headers, key=key, key_option=key_option, timeout_s=timeout_s)
    return [one.name for one in listed]


def listed_at(
    url: str,
    headers: Mapping[str, str],
    *,
    key: str | None,
    key_option: str | None = None,
    timeout_s: float = 10.0,
) -> list[Listed]:
    """What `url` lists under `/models`; errors as in `models_at`. `key` stays hidden in them."""
    where = without_password(url)
    try:
        with (
            httpx.Client(
                headers=headers,
                timeout=timeout_s,
                follow_redirects=False,
                trust_env=not is_loopback(url),
            ) as client,
            client.stream("GET", f"{url}/models") as response,
        ):
            found = body_within(response)
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise unreached(str(error) or type(error).__name__, where=where) from error
    except httpx.RequestError as error:
        raise NetworkError(
            f"the endpoint did not answer: {str(error) or type(error).__name__}", where=where
        ) from error
    if found.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        refusal = Refusal.read(found.status_code, found.headers, found.content, hide=key)
        refusal.raise_as(where=where, sent=(), key_option=key_option)
    try:
        return [_listed(row) for row in found.json()["data"]]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def _listed(row: Mapping[str, Any]) -> Listed:
    said = next((row[name] for name in _CONTEXT if row.get(name)), None)
    is_number = isinstance(said, int) and not isinstance(said, bool) and said > 0
    return Listed(str(row["id"]), said if is_number else None)
