"""What does each failure of a service mean, and is it worth another try?

Rate limits, server errors and lost connections may pass; a parameter that the model does not take
is left out from then on; a refused key, a used-up account and an unknown model end all work; a
request that the service calls wrong ends only itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import urlsplit

from zephyrctl.errors import CredentialsError, DataError, NetworkError, UsageError, ZephyrctlError
from zephyrctl.generation.endpoint.address import is_loopback, key_hint
from zephyrctl.generation.endpoint.limits import retry_after

_MAY_PASS = frozenset({408, 409, 425, 429})
_TOO_MUCH = frozenset({429, 503, 529})
"""Statuses that ask for fewer requests at once."""
_NO_MONEY = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
_FILTERED = ("content_filter", "content_policy_violation", "invalid_prompt")
_TOO_LONG = re.compile(r"context.length|context window|too long|too large", re.I)
_NO_ROOM = "the request does not fit into the model's context"
# As OpenAI, vLLM and SGLang word it.
_CONTEXT = re.compile(r"context length (?:is|of) (\d+)", re.I)
_PROMPT = re.compile(r"(\d+) (?:in the messages|input tokens|tokens from the input)", re.I)
_NOT_TAKEN = re.compile(
    r"unsupported|not supported|does not support|unrecognized|unknown parameter|not enabled"
    r"|not allowed|not permitted|extra_forbidden|extra inputs",
    re.I,
)
OPTIONAL = (
    "max_tokens", "temperature", "seed", "top_p", "logprobs", "top_logprobs", "stream_options",
)  # fmt: skip
"""Fields of a request that a model may not take."""


class TryAgain(Exception):
    """A failure that may pass.

    `retry_after` is what the service asked for, in seconds; `is_pressure` whether fewer requests
    at once would help; `is_unreached` whether no service was there at all; `may_be_billed` whether
    the service may have done the work all the same, and only its reply was lost.
    """

    def __init__(
        self,
        reason: str,
        *,
        headers: Mapping[str, str] | None = None,
        is_pressure: bool = False,
        is_unreached: bool = False,
        may_be_billed: bool = False,
    ) -> None:
        super().__init__(reason)
        self.headers = headers or {}
        self.retry_after = retry_after(self.headers)
        self.is_pressure = is_pressure
        self.is_unreached = is_unreached
        self.may_be_billed = may_be_billed


class NotTaken(Exception):
    """The model does not take the field `name` of the request."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def room_left(error: DataError) -> int | None:
    """How many tokens a request that was too long may ask for, 0 where its prompt alone is too long
    or nothing tells how long it is; None for any other error."""
    if not error.message.startswith(_NO_ROOM):
        return None
    context, prompt = _CONTEXT.search(error.message), _PROMPT.search(error.message)
    return max(0, int(context[1]) - int(prompt[1])) if context and prompt else 0


def unreached(reason: object, *, where: str) -> NetworkError:
    """No service is there at all; `where` begins with its address."""
    named = where.partition(" ")[0].rstrip("/")
    port = urlsplit(named).port
    steps = [f"zephyrctl serve @dpo{f' --port {port}' if port else ''}"] * is_loopback(where)
    if not named.endswith("/v1"):
        steps.append(f"{named}/v1, as most servers have it")
    return NetworkError(
        f"no service answers at this address: {reason}",
        where=where,
        hint="   or ".join(steps) or "is the server running, and the address right?",
    )


class Filtered(Exception):
    """The service's filter refused the prompt itself, which is an answer of its kind."""


@dataclass(frozen=True)
class Refusal:
    """An answer other than 200, with the service's own words, short and without the key."""

    status: int
    headers: Mapping[str, str]
    said: str
    code: str = ""
    param: str = ""

    @classmethod
    def read(
        cls, status: int, headers: Mapping[str, str], content: bytes, *, hide: str | None
    ) -> Refusal:
        """Read the shapes in which services put an error; any other is shown as it is."""
        text, code, param = content.decode("utf-8", errors="replace"), "", ""
        try:
            record = json.loads(content)
            error = record.get("error") or record.get("detail") or record
            if isinstance(error, dict):
                text = str(error.get("message") or text)
                code, param = str(error.get("code") or ""), str(error.get("param") or "")
            elif isinstance(error, str):
                text = error
        except (ValueError, AttributeError):
            pass
        text = " ".join(text.split())[:300]
        return cls(status, headers, text.replace(hide, "***") if hide else text, code, param)

    def raise_as(
        self, *, where: str, sent: Container[str], key_option: str | None = None
    ) -> NoReturn:
        """Raise what this means for a request with the fields `sent`; a DataError concerns this
        request alone, any other error of ours all requests. `key_option` is as in `key_hint`."""
        if self._has_no_money:
            raise CredentialsError(
                f"the account behind the key has nothing left ({self.status}): {self.said}",
                where=where,
                hint="add credit or name another key",
            )
        if self.status in (400, 403, 422) and (name := self._not_taken(sent)):
            raise NotTaken(name)
        if self.status == 400 and any(code in (self.code, self.param) for code in _FILTERED):
            raise Filtered(self.said)
        if self.status in _MAY_PASS or (self.status >= 500 and self.status != 501):
            raise TryAgain(
                f"status {self.status}: {self.said}",
                headers=self.headers,
                is_pressure=self.status in _TOO_MUCH,
            )
        raise self._final(where, key_option)

    def _final(self, where: str, key_option: str | None) -> ZephyrctlError:
        if self.status in (401, 403):
            return CredentialsError(
                f"the endpoint refused the key ({self.status}): {self.said}",
                where=where,
                hint=f"{key_hint(key_option)} (the variable is not sent over plain http to another "
                "machine)",
            )
        if 300 <= self.status < 400:
            target = self.headers.get("location", "elsewhere")
            return NetworkError(
                f"the endpoint redirects to {target}, and redirects are not followed",
                where=where,
                hint="name the final address",
            )
        if self.status == 404:
            return UsageError(
                f"the endpoint does not know this address or model (404): {self.said}",
                where=where,
                hint="the address ends with /v1 on most servers; GET /v1/models lists the models",
            )
        if _TOO_LONG.search(f"{self.code} {self.said}"):
            return DataError(
                f"{_NO_ROOM}: {self.said}",
                where=where,
                hint="a model with a longer context, or fewer tokens to write, such as "
                "--set eval.judge.max_tokens=512",
            )
        return DataError(
            f"the endpoint calls the request wrong ({self.status}): {self.said}", where=where
        )

    @property
    def _has_no_money(self) -> bool:
        return self.status == 402 or any(
            word == self.code or word in self.said for word in _NO_MONEY
        )

    def _not_taken(self, sent: Container[str]) -> str | None:
        """The field that the model does not take, by the service's own words."""
        if not _NOT_TAKEN.search(f"{self.code} {self.said}"):
            return None
        names = [name for name in OPTIONAL if name in sent]
        if self.param in names:
            return self.param
        return next((name for name in names if re.search(rf"\b{name}\b", self.said, re.I)), None)
