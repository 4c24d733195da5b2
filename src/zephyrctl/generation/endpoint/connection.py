"""How does one request travel, at little cost and through the proxy that the environment names?"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from zephyrctl import __version__
from zephyrctl.errors import NetworkError
from zephyrctl.generation.endpoint.address import is_loopback
from zephyrctl.sizes import MIB, size_words

MOST_BYTES = 16 * MIB
"""Of one answer, unpacked: a hundred times what the longest holds."""
MOST_OF_A_STREAM = 4 * MOST_BYTES
"""A streamed answer wraps each token in some 300 bytes."""
_CONNECT_S = 20.0
_HEADERS = {
    "accept": "application/json",
    "content-type": "application/json",
    "user-agent": f"zephyrctl/{__version__}",  # some front ends refuse a request without one
}


class Connections:
    """Connections to one service, each for one request at a time.

    httpx's own pool goes through all its connections and all waiting requests at every request:
    with 64 at once that took 15 ms of CPU time a request, and a transport for each connection takes
    0.9. A client around each transport (cookies, redirects, authentication) would add 0.25.
    """

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self._url = httpx.URL(url)
        self._headers = httpx.Headers({**_HEADERS, **headers})
        self._proxy = proxy_for(url)
        self._context = httpx.create_ssl_context()
        self._idle: list[httpx.AsyncHTTPTransport] = []
        _remember_missing_sniffio()

    async def post(self, content: bytes) -> httpx.Response:
        """The whole answer; httpx.RequestError where none comes, NetworkError where it is too large
        for one. Waits as long as it takes."""
        request = httpx.Request(
            "POST",
            self._url,
            headers=self._headers,
            content=content,
            extensions={"timeout": {"connect": _CONNECT_S}},
        )
        transport = self._idle.pop() if self._idle else self._open()
        try:
            response = await transport.handle_async_request(request)
            response.request = request
            parts: list[bytes] = []
            size = 0
            async for part in response.aiter_bytes():
                parts.append(part)
                size = _counted(size + len(part), request, MOST_BYTES)
        except BaseException:
            # A request that is cut off may leave its place in the pool taken for ever.
            await transport.aclose()
            raise
        self._idle.append(transport)
        return _whole(response, parts)

    async def aclose(self) -> None:
        """Close what is open."""
        while self._idle:
            await self._idle.pop().aclose()

    def _open(self) -> httpx.AsyncHTTPTransport:
        limits = httpx.Limits(max_connections=1)
        return httpx.AsyncHTTPTransport(verify=self._context, limits=limits, proxy=self._proxy)


def body_within(response: httpx.Response) -> httpx.Response:
    """A streamed response with its whole body; NetworkError where that is too large for one."""
    parts: list[bytes] = []
    size = 0
    for part in response.iter_bytes():
        parts.append(part)
        size = _counted(size + len(part), response.request, MOST_BYTES)
    return _whole(response, parts)


def lines_within(response: httpx.Response) -> Iterator[str]:
    """The lines of a streamed answer; NetworkError for a line, or a stream, longer than any."""
    size, held = 0, 0
    begun: list[str] = []  # of the line that has not ended; joined once, however long it grows
    for part in response.iter_text():
        size = _counted(size + len(part), response.request, MOST_OF_A_STREAM)
        *ended, rest = part.split("\n")
        for line in ended:
            yield "".join([*begun, line]).removesuffix("\r")
            begun, held = [], 0
        begun.append(rest)
        held = _counted(held + len(rest), response.request, MOST_BYTES)
    if any(begun):
        yield "".join(begun)


def _counted(size: int, request: httpx.Request, most: int) -> int:
    if size > most:
        raise NetworkError(
            f"the endpoint sends more than {size_words(most)} for one answer",
            where=str(request.url.host),
        )
    return size


def _whole(response: httpx.Response, parts: list[bytes]) -> httpx.Response:
    """The response with its body, which is unpacked already."""
    kept = [
        (name, value)
        for name, value in response.headers.multi_items()
        if name not in ("content-encoding", "transfer-encoding", "content-length")
    ]
    return httpx.Response(
        response.status_code, headers=kept, content=b"".join(parts), request=response.request
    )


def proxy_for(url: str) -> str | None:
    """The proxy that the environment (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY) names for
    `url`; none for this machine."""
    parts = urlsplit(url)
    if is_loopback(url) or proxy_bypass(parts.hostname or ""):
        return None
    proxies: dict[str, Any] = getproxies()
    found = proxies.get(parts.scheme) or proxies.get("all")
    return found if found is None or "://" in found else f"http://{found}"


def _remember_missing_sniffio() -> None:
    """Spare httpcore its searches for a module that is not there.

    It imports sniffio several times in every request, and Python looks through the whole path each
    time: a fifth of the CPU time of a request. None in `sys.modules` says that there is none.
    """
    if "sniffio" not in sys.modules and find_spec("sniffio") is None:
        sys.modules["sniffio"] = None  # type: ignore[assignment]
