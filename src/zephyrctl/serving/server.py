"""How does the service start, and how does it end without breaking off an answer?"""

from __future__ import annotations

import importlib.util
import ipaddress
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from zephyrctl.config.schema.model import Model
from zephyrctl.data import template_lock
from zephyrctl.errors import EnvironmentProblem, Interrupted, UsageError
from zephyrctl.generation.answerer import open_engine
from zephyrctl.runs.references import ModelRef

if TYPE_CHECKING:
    import uvicorn

_EXTRA = ("starlette", "uvicorn")
_ENDING = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Service:
    """What is served. `name` is what clients call the model."""

    ref: ModelRef
    name: str
    host: str = "127.0.0.1"
    port: int = 8000
    """0 takes a free one."""
    api_key: str | None = None
    max_new_tokens: int = 1024
    """Longest answer where a request names no limit."""
    device: str = "auto"


def require_extra() -> None:
    """EnvironmentProblem where the packages of the `serve` extra are not installed."""
    missing = [name for name in _EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        raise EnvironmentProblem(
            f"serving needs {' and '.join(missing)}", hint="pip install 'zephyrctl[serve]'"
        )


def serve(service: Service, *, model: Model, say: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C; requests that have come are answered first.

    `model` holds number format, attention and the template for a base model without one. A second
    Ctrl-C breaks off what is open and raises Interrupted.
    """
    require_extra()
    if service.ref.kind == "endpoint":
        raise UsageError(f"'{service.ref.target}' is an endpoint already")
    listener = bind(service.host, service.port)
    try:
        url = _url(listener)
        say(f"loading {service.name} …")
        engine, notices = open_engine(service.ref, model=model, device=service.device)
        template_lock.check(Path(engine.path), engine.tokenizer)
        for text in (*notices, *engine.notices, *_exposed(service)):
            say(f"! {text}")
        from zephyrctl.serving.app import make_app
        from zephyrctl.serving.turns import Turns

        turns = Turns(engine, max_new_tokens=service.max_new_tokens)
        server = make_server(make_app(turns, name=service.name, api_key=service.api_key))
        say(f"serving {service.name} on {engine.device} at {url}/v1 (Ctrl-C ends it)")
        say("requests are answered one after the other")
        try:
            _run(server, listener)
        finally:
            turns.close()
            engine.close()
    finally:
        listener.close()
    if server.force_exit:
        raise Interrupted("open requests were broken off")
    say("all requests were answered; stopped")


def make_server(app: object) -> uvicorn.Server:
    """A server of our settings: quiet, one process, in no hurry to end."""
    import uvicorn

    return uvicorn.Server(
        uvicorn.Config(
            app,  # pyright: ignore[reportArgumentType]
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=None,
        )
    )


def bind(host: str, port: int) -> socket.socket:
    """A socket at the address; EnvironmentProblem where it is taken or not allowed."""
    where = f"{host}:{port}"
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise UsageError(
            f"'{host}' is no address of this machine", hint="--host 127.0.0.1"
        ) from error
    listener = socket.socket(family, kind)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise EnvironmentProblem(
            f"the port cannot be used: {(error.strerror or str(error)).lower()}",
            where=where,
            hint="--port 0 takes a free port",
        ) from error
    return listener


def _run(server: uvicorn.Server, listener: socket.socket) -> None:
    with _signals_are_ours():
        try:
            server.run(sockets=[listener])
        except OSError as error:  # between our bind and uvicorn's listen another process came
            raise EnvironmentProblem(
                f"the port cannot be used: {error.strerror or error}", hint="--port 0"
            ) from error


@contextmanager
def _signals_are_ours() -> Iterator[None]:
    """uvicorn raises the signal that ended it once more at the end, for whoever started it. Its
    end was asked for and is clean, so nothing more is to follow from it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _ended_already) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ended_already(number: int, frame: FrameType | None) -> None:
    del number, frame


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _exposed(service: Service) -> list[str]:
    """A warning where other machines can ask and no key stops them."""
    try:
        is_local = ipaddress.ip_address(service.host).is_loopback
    except ValueError:
        is_local = service.host == "localhost"
    if is_local or service.api_key is not None:
        return []
    return [f"anyone who reaches {service.host} can use the model: --api-key-file FILE asks a key"]
