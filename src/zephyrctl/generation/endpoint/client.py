"""How is one request put to a model behind an OpenAI-compatible service?"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, NoReturn

import httpx

from zephyrctl.errors import DataError, NetworkError
from zephyrctl.generation.endpoint.address import (
    find_key,
    is_loopback,
    parse_spec,
    refuse_offline,
    without_password,
)
from zephyrctl.generation.endpoint.connection import Connections, body_within, lines_within
from zephyrctl.generation.endpoint.failures import (
    Filtered,
    NotTaken,
    Refusal,
    TryAgain,
    room_left,
    unreached,
)
from zephyrctl.generation.endpoint.listing import Listed, listed_at
from zephyrctl.generation.endpoint.tries import Patience, Tries
from zephyrctl.generation.endpoint.wire import (
    Asked,
    BrokenAnswer,
    Reply,
    Streamed,
    body_of,
    events,
    reply_of,
)

_LOST = {
    "temperature": "samples at a temperature of its own",
    "seed": "takes no seed",
    "top_p": "takes no top_p",
    "logprobs": "gives no probabilities",
    "stream_options": "does not count the tokens of a streamed reply, so its pieces are counted",
}


@dataclass
class Endpoint:
    """A model at a service. `base_url` ends with the API's version, such as `/v1`.

    `adjustments` lists what the service made us leave out or rename (reasoning models take no
    temperature and another name for the token limit), found by its own refusals. `is_known` turns
    true with the first answer. `key_option` is as in `key_hint`.
    """

    base_url: str
    model: str
    api_key: str | None = field(default=None, repr=False)
    patience: Patience = field(default_factory=Patience)
    adjustments: list[str] = field(default_factory=list)
    is_known: bool = False
    key_option: str | None = None
    _connections: Connections | None = field(default=None, init=False, repr=False)

    @classmethod
    def parse(
        cls,
        spec: str,
        *,
        api_key_file: str | None = None,
        key_option: str | None = None,
        patience: Patience | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Endpoint:
        """The endpoint that `openai:MODEL` or `openai+http(s)://host/v1:MODEL` names.

        The key comes from `api_key_file`, else from OPENAI_API_KEY in `env` or the working
        directory's `.env`. CredentialsError where a service that needs one has none.
        """
        environment = os.environ if env is None else env
        url, model = parse_spec(spec, environment)
        refuse_offline(url, environment)
        key = find_key(url, api_key_file, environment, key_option=key_option)
        return cls(url, model, key, patience or Patience(), key_option=key_option)

    @property
    def where(self) -> str:
        """The service and the model, for an error; without a password in the address."""
        return f"{without_password(self.base_url)} ({self.model})"

    @property
    def notices(self) -> list[str]:
        """What the model made us leave out, one sentence each."""
        return [f"{self.model} {_LOST[name]}" for name in self.adjustments if name in _LOST]

    async def chat(self, asked: Asked) -> Reply:
        """One answer, tried again within the deadline."""
        tries = Tries(self.patience, monotonic(), self.where)
        while True:
            try:
                reply, _ = await self.try_once(asked, timeout_s=tries.seconds_left(monotonic()))
                return reply
            except NotTaken:
                continue
            except TryAgain as failure:
                pause = failure.retry_after or 0.0
                wait = tries.wait_after(
                    failure, now=monotonic(), pause=pause, is_known=self.is_known
                )
                await asyncio.sleep(max(wait, pause))

    async def try_once(self, asked: Asked, *, timeout_s: float) -> tuple[Reply, Mapping[str, str]]:
        """One try, and the headers of its answer.

        TryAgain for a failure that may pass; NotTaken for a field that the model does not take,
        which the next try leaves out; any other error is final.
        """
        body = self._body(asked)
        try:
            # One limit over the whole try: bytes that trickle in never let a read time out.
            async with asyncio.timeout(timeout_s):
                response = await self._connected().post(json.dumps(body).encode())
        except TimeoutError as error:
            reason = f"no whole answer within {timeout_s:.3g} s"
            raise TryAgain(reason, is_pressure=True, may_be_billed=True) from error
        except httpx.RequestError as error:
            is_unreached = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            raise TryAgain(
                _reason(error), is_unreached=is_unreached, may_be_billed=not is_unreached
            ) from error
        return self._read(response, body), response.headers

    def stream(self, asked: Asked, told: Streamed | None = None) -> Iterator[str]:
        """The pieces of one answer as they come; for a person who waits, so tried once.

        What else the service says, such as its count of tokens, is put into `told`. A prompt that
        its filter refuses has an empty answer, as in `chat`.
        """
        told = told or Streamed()
        with httpx.Client(
            headers=self._headers,
            timeout=self.patience.timeout_s,
            follow_redirects=False,  # a redirect would take the key to another host
            trust_env=not is_loopback(self.base_url),
        ) as client:
            try:
                yield from self._stream(client, asked, told)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                raise unreached(_reason(error), where=self.where) from error
            except Filtered:
                told.finish_reason = "content_filter"
            except (httpx.RequestError, BrokenAnswer, TryAgain) as error:
                raise NetworkError(
                    f"the endpoint did not answer: {_reason(error)}", where=self.where
                ) from error

    def _stream(self, client: httpx.Client, asked: Asked, told: Streamed) -> Iterator[str]:
        is_bare = False  # without stream_options, in case those were what a service took for wrong
        while True:
            body = {**self._body(asked), "stream": True}
            if not is_bare and "stream_options" not in self.adjustments:
                body["stream_options"] = {"include_usage": True}
            with client.stream("POST", self._url, json=body) as response:
                if response.status_code == httpx.codes.OK:
                    if is_bare:
                        self._leave_out("stream_options")
                    yield from events(lines_within(response), told)
                    return
                response = body_within(response)
                try:
                    self._refuse(response, body)
                except NotTaken:
                    continue
                except DataError as error:
                    if "stream_options" not in body or room_left(error) is not None:
                        raise
                    is_bare = True

    async def aclose(self) -> None:
        """Close the connections."""
        if self._connections is not None:
            await self._connections.aclose()

    def _read(self, response: httpx.Response, body: Mapping[str, Any]) -> Reply:
        self.is_known = True
        if response.status_code != httpx.codes.OK:
            try:
                self._refuse(response, body)
            except Filtered:
                return Reply("", 0, 0, "content_filter")
        try:
            return reply_of(response.content)
        except BrokenAnswer as error:
            raise TryAgain(str(error), headers=response.headers, may_be_billed=True) from error

    def _refuse(self, response: httpx.Response, body: Mapping[str, Any]) -> NoReturn:
        refusal = Refusal.read(
            response.status_code, response.headers, response.content, hide=self.api_key
        )
        try:
            refusal.raise_as(where=self.where, sent=body, key_option=self.key_option)
        except NotTaken as field_:
            self._leave_out("logprobs" if field_.name == "top_logprobs" else field_.name)
            raise

    def _leave_out(self, name: str) -> None:
        """Send a field no more. Many requests under way may learn the same; it is noted once."""
        if name not in self.adjustments:
            self.adjustments.append(name)

    def _body(self, asked: Asked) -> dict[str, Any]:
        body = body_of(self.model, asked)
        for name in self.adjustments:
            value = body.pop(name, None)
            if name == "max_tokens":
                body["max_completion_tokens"] = value
            elif name == "logprobs":
                body.pop("top_logprobs", None)
        return body

    def context(self, *, timeout_s: float = 3.0) -> int | None:
        """How many tokens the model reads, None where the service does not say; one request."""
        listed = self.listed(timeout_s=timeout_s)
        return next((one.context for one in listed if one.name == self.model), None)

    def listed(self, *, timeout_s: float = 3.0) -> list[Listed]:
        """What the service tells of its models, empty where it tells nothing; one request."""
        return listed_at(
            self.base_url,
            self._headers,
            key=self.api_key,
            key_option=self.key_option,
            timeout_s=timeout_s,
        )

    @property
    def _url(self) -> str:
        return f"{self.base_url}/chat/completions"

    def _connected(self) -> Connections:
        if self._connections is None:
            self._connections = Connections(self._url, self._headers)
        return self._connections

    @property
    def _headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.api_key}"} if self.api_key else {}


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
