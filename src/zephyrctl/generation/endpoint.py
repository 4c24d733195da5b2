"""How is a model behind an OpenAI-compatible service asked?

Each failure has its own way: rate limits, server errors and lost connections are tried again with
growing, jittered waits (or as long as Retry-After says); a refused key, an unknown model and a
request the server calls wrong end at once. A key is never logged, and never sent over plain HTTP
to another machine unless a key file says so.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx

from zephyrctl.data.messages import Message, to_json
from zephyrctl.errors import CredentialsError, DataError, NetworkError, UsageError

OPENAI_URL = "https://api.openai.com/v1"
_HOST = r"https?://(?:\[[0-9a-fA-F:]+\]|[^:/\s]+)(?::\d+)?"
_SPEC = re.compile(rf"openai(?:\+(?P<url>{_HOST}(?:/[^:\s]*)?))?:(?P<model>[^\s]+)")
_LOOPBACK = re.compile(r"https?://(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?(/|$)")
_TRY_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})


@dataclass(frozen=True)
class Reply:
    """One answer of an endpoint. `logprobs` is the choice's own object where it was asked for."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str
    logprobs: Any = None


@dataclass(frozen=True)
class Patience:
    """When to try again: `attempts` in all, waits doubling from `first_s` to `longest_s`."""

    attempts: int = 8
    first_s: float = 0.5
    longest_s: float = 30.0
    longest_retry_after_s: float = 120.0

    def wait(self, attempt: int, retry_after: float | None, rng: random.Random) -> float:
        """Seconds before the next try, after `attempt` (0-based) failed."""
        if retry_after is not None:
            return min(retry_after, self.longest_retry_after_s) + rng.uniform(0, self.first_s)
        return min(self.longest_s, self.first_s * 2**attempt) * rng.uniform(0.5, 1.0)


class _TryAgain(Exception):
    """A failure that may pass. `retry_after` is what the server asked for, in seconds."""

    def __init__(self, reason: str, *, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


@dataclass
class Endpoint:
    """A model at a service. `base_url` ends with the API's version, such as `/v1`.

    `adjustments` lists what the service made us leave out or rename (reasoning models take no
    temperature and another name for the token limit), found by its own error messages.
    """

    base_url: str
    model: str
    api_key: str | None = field(default=None, repr=False)
    timeout_s: float = 120.0
    patience: Patience = field(default_factory=Patience)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    adjustments: list[str] = field(default_factory=list)
    _client: httpx.AsyncClient | None = field(default=None, init=False, repr=False)

    @classmethod
    def parse(
        cls,
        spec: str,
        *,
        api_key_file: str | None = None,
        timeout_s: float = 120.0,
        env: Mapping[str, str] | None = None,
    ) -> Endpoint:
        """The endpoint that `openai:MODEL` or `openai+http(s)://host/v1:MODEL` names.

        The key comes from `api_key_file`, else from OPENAI_API_KEY in `env` or the working
        directory's `.env`. CredentialsError where a service that needs one has none.
        """
        environment = os.environ if env is None else env
        match = _SPEC.fullmatch(spec)
        if match is None:
            raise UsageError(
                f"'{spec}' is no endpoint",
                hint="openai:MODEL, or openai+http://localhost:8000/v1:MODEL",
            )
        named = match["url"] or environment.get("OPENAI_BASE_URL")
        url = (named or environment.get("OPENAI_API_BASE") or OPENAI_URL).rstrip("/")
        _refuse_offline(url, environment)
        key = _api_key(url, api_key_file, environment)
        return cls(url, match["model"], key, timeout_s)

    async def chat(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        temperature: float,
        seed: int | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Reply:
        """One answer. `extra` holds further fields of the request, such as `top_p`."""
        body = self._body(messages, max_tokens, temperature, seed) | dict(extra or {})
        rng = random.Random()
        reason = ""
        for attempt in range(self.patience.attempts):
            try:
                return await self._ask(body)
            except _TryAgain as failure:
                reason = str(failure)
                if attempt + 1 < self.patience.attempts:
                    await self.sleep(self.patience.wait(attempt, failure.retry_after, rng))
        raise NetworkError(
            f"the endpoint gave no answer in {self.patience.attempts} tries: {reason}",
            where=f"{self.base_url} ({self.model})",
            hint="the same command goes on from here; what was answered is kept",
        )

    def stream(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        temperature: float,
        seed: int | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Iterator[str]:
        """The pieces of one answer as they come; for a person who waits, so tried once."""
        body = self._body(messages, max_tokens, temperature, seed) | dict(extra or {})
        with httpx.Client(**self._options()) as client:
            try:
                request = {**self._adjusted(body), "stream": True}
                with client.stream("POST", self._url(), json=request) as response:
                    if response.status_code != httpx.codes.OK:
                        response.read()
                        self._refuse(response)
                    yield from _events(response.iter_lines())
            except (httpx.TransportError, _TryAgain) as error:
                raise NetworkError(
                    f"the endpoint did not answer: {_reason(error)}",
                    where=f"{self.base_url} ({self.model})",
                ) from error

    async def aclose(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _ask(self, body: dict[str, Any]) -> Reply:
        if self._client is None:
            self._client = httpx.AsyncClient(**self._options())
        try:
            async with asyncio.timeout(self.timeout_s):
                response = await self._client.post(self._url(), json=self._adjusted(body))
        except (httpx.TransportError, TimeoutError) as error:
            raise _TryAgain(_reason(error)) from error
        if response.status_code != httpx.codes.OK:
            self._refuse(response)
        return _reply(response)

    def _body(
        self, messages: Sequence[Message], max_tokens: int, temperature: float, seed: int | None
    ) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": to_json(messages),
            "max_tokens": max_tokens,
            "temperature": temperature,
        }
        return body if seed is None else {**body, "seed": seed}

    def _adjusted(self, body: dict[str, Any]) -> dict[str, Any]:
        adjusted = dict(body)
        for name in self.adjustments:
            if name in adjusted:
                value = adjusted.pop(name)
                if name == "max_tokens":
                    adjusted["max_completion_tokens"] = value
        return adjusted

    def _url(self) -> str:
        return f"{self.base_url}/chat/completions"

    def _options(self) -> dict[str, Any]:
        headers = {"authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        return {
            "headers": headers,
            "timeout": httpx.Timeout(self.timeout_s, connect=min(self.timeout_s, 20.0)),
            "follow_redirects": False,  # a redirect would take the key to another host
            "trust_env": not _LOOPBACK.match(self.base_url),
            "limits": httpx.Limits(max_connections=None, max_keepalive_connections=256),
        }

    def _refuse(self, response: httpx.Response) -> None:
        """Raise what an answer other than 200 means."""
        status, said = response.status_code, _said(response, hide=self.api_key)
        where = f"{self.base_url} ({self.model})"
        if status in (401, 403) or "insufficient_quota" in said:
            raise CredentialsError(
                f"the endpoint refused the key ({status}): {said}",
                where=where,
                hint="set OPENAI_API_KEY (not sent over plain http to another machine), or name a "
                "file with eval.judge.api_key_file; what was answered so far is kept",
            )
        if status in _TRY_AGAIN:
            raise _TryAgain(f"status {status}: {said}", retry_after=_retry_after(response))
        if response.is_redirect:
            target = response.headers.get("location", "elsewhere")
            raise NetworkError(
                f"the endpoint redirects to {target}, and redirects are not followed",
                where=where,
                hint="name the final address",
            )
        if status == httpx.codes.NOT_FOUND:
            raise UsageError(
                f"the endpoint does not know this address or model (404): {said}",
                where=where,
                hint="the address ends with /v1 on most servers; GET /v1/models lists the models",
            )
        if status == httpx.codes.BAD_REQUEST and self._learn(said):
            raise _TryAgain(f"status 400: {said}", retry_after=0.0)
        raise DataError(f"the endpoint calls the request wrong ({status}): {said}", where=where)

    def _learn(self, said: str) -> bool:
        """Remember a parameter that this model does not take; false where nothing is learnt."""
        if not re.search(r"unsupported|not supported|does not support|unrecognized", said, re.I):
            return False
        for name in ("max_tokens", "temperature", "seed", "top_p"):
            if re.search(rf"\b{name}\b", said) and name not in self.adjustments:
                self.adjustments.append(name)
                return True
        return False


def models_at(base_url: str, *, timeout_s: float = 10.0) -> list[str]:
    """The names that a service lists under `/models`; empty where it lists none."""
    url = base_url.rstrip("/")
    key = _api_key(url, None, os.environ)
    headers = {"authorization": f"Bearer {key}"} if key else {}
    _refuse_offline(url, os.environ)
    try:
        with httpx.Client(
            headers=headers, timeout=timeout_s, trust_env=not _LOOPBACK.match(url)
        ) as client:
            return [str(row["id"]) for row in client.get(f"{url}/models").json()["data"]]
    except httpx.TransportError as error:
        raise NetworkError(f"the endpoint did not answer: {_reason(error)}", where=url) from error
    except (ValueError, KeyError, TypeError):
        return []


def _reply(response: httpx.Response) -> Reply:
    """Parse a 200; a broken body counts as a failure that may pass."""
    try:
        record = response.json()
        choice = record["choices"][0]
        text = choice["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        shown = response.text[:80]
        raise _TryAgain(f"an answer that is no chat completion: {shown!r}") from error
    usage = record.get("usage") or {}
    return Reply(
        text or "",
        int(usage.get("prompt_tokens") or 0),
        int(usage.get("completion_tokens") or 0),
        choice.get("finish_reason") or "unknown",
        choice.get("logprobs"),
    )


def _events(lines: Iterator[str]) -> Iterator[str]:
    """The text of a stream of server-sent events."""
    for line in lines:
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            return
        try:
            record = json.loads(data)
            choices = record.get("choices", [])
        except (ValueError, AttributeError) as error:
            raise _TryAgain(f"a broken event: {data[:80]!r}") from error
        if "error" in record:
            raise _TryAgain(f"an error within the stream: {str(record['error'])[:200]}")
        for choice in choices:
            if piece := (choice.get("delta") or {}).get("content"):
                yield piece


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds of a Retry-After header, which holds a number or a date."""
    value = response.headers.get("retry-after")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def _said(response: httpx.Response, *, hide: str | None) -> str:
    """The server's own words, short and without the key that some of them repeat."""
    try:
        error = response.json()["error"]
        text = f"{error['message']} {error.get('code') or ''}" if isinstance(error, dict) else error
    except (ValueError, KeyError, TypeError):
        text = response.text
    text = " ".join(str(text).split())[:300]
    return text.replace(hide, "***") if hide else text


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _refuse_offline(url: str, env: Mapping[str, str]) -> None:
    if env.get("ZEPHYRCTL_OFFLINE", "") not in ("", "0") and not _LOOPBACK.match(url):
        raise NetworkError(
            "ZEPHYRCTL_OFFLINE=1 forbids the network", where=url, hint="unset ZEPHYRCTL_OFFLINE"
        )


def _api_key(url: str, api_key_file: str | None, env: Mapping[str, str]) -> str | None:
    if api_key_file is not None:
        return key_of_file(Path(api_key_file).expanduser())
    key = env.get("OPENAI_API_KEY") or _key_of_dotenv(Path(".env"))
    local = _LOOPBACK.match(url) is not None
    if url.startswith("http://") and not local:
        return None
    if key is None and url == OPENAI_URL:
        raise CredentialsError(
            "no key for the endpoint",
            where=url,
            hint="export OPENAI_API_KEY=…, or name a file with eval.judge.api_key_file",
        )
    return key


def key_of_file(path: Path) -> str:
    """The key that a file holds on its only line; CredentialsError where it holds none."""
    try:
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CredentialsError(f"the key file cannot be read: {error}", where=str(path)) from None
    if not key or len(key.split()) != 1:
        raise CredentialsError("the key file holds no key on one line", where=str(path))
    return key


def _key_of_dotenv(path: Path) -> str | None:
    """OPENAI_API_KEY from a `.env` file; the file is read, never written nor put into the
    environment of child processes."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    for line in lines:
        name, separator, value = line.removeprefix("export ").partition("=")
        if separator and name.strip() == "OPENAI_API_KEY":
            return value.strip().strip("'\"") or None
    return None
