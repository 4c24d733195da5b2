"""How does the service start, and how does it end without breaking off an answer?"""

from __future__ import annotations

import importlib.util
import ipaddress
import json
import os
import shlex
import socket
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from zephyrctl.config.schema.model import Model
from zephyrctl.data import template_lock
from zephyrctl.errors import (
    CredentialsError,
    DataError,
    EnvironmentProblem,
    Interrupted,
    Terminated,
    UsageError,
    quoted,
)
from zephyrctl.generation import vllm
from zephyrctl.generation.answerer import digest_of, folder_of, open_engine
from zephyrctl.generation.endpoint import key_of_file
from zephyrctl.generation.model_tokenizer import tokenizer_of
from zephyrctl.runs.references import ModelRef

if TYPE_CHECKING:
    from zephyrctl.serving.events import Answering

_EXTRA = ("starlette", "uvicorn")
_WAY_ROUND = "--engine transformers"
EngineName = Literal["auto", "transformers", "vllm"]


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
    engine: EngineName = "auto"
    max_batch: int = 32
    """Answers at once; the memory that is free can mean fewer."""
    grace_s: float = 300
    """How long open answers may go on once the service is told to end."""


def require_extra() -> None:
    """EnvironmentProblem where the packages of the `serve` extra are not installed."""
    missing = [name for name in _EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        raise EnvironmentProblem(
            f"serving needs {' and '.join(missing)}", hint="pip install 'zephyrctl[serve]'"
        )


def key_in(path: Path) -> tuple[str, list[str]]:
    """The key in a file that clients must send, and what is to be said of the file.

    CredentialsError where it is this user's own and others may read it. Another one's was put there
    by whoever runs the machine, as mounted secrets are.
    """
    key = key_of_file(path)
    found = path.stat()
    if not found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return key, []
    if found.st_uid == os.getuid():
        raise CredentialsError(
            "others may read the key file", where=str(path), hint=f"chmod 600 {quoted(path)}"
        )
    return key, [f"others may read the key file {path}"]


def serve(
    service: Service,
    *,
    model: Model,
    say: Callable[[str], None],
    loading: Callable[[str], AbstractContextManager[None]],
) -> None:
    """Serve until SIGTERM or Ctrl-C; requests that have come are answered first.

    `loading`, told the model's name, shows that it is being loaded.
    `model` holds number format, attention and the template for a base model without one. A second
    Ctrl-C breaks off what is open and raises Interrupted; the end of the grace time Terminated.
    """
    require_extra()
    if service.ref.kind == "endpoint":
        raise UsageError(f"'{service.ref.target}' is an endpoint already")
    listener = bind(service.host, service.port)
    try:
        from zephyrctl.serving import listening
        from zephyrctl.serving.app import make_app
        from zephyrctl.serving.line import Line

        for text in exposed(service):
            say(f"! {text}")
        with loading(service.name):
            answering, where = _open(service, model=model, say=say)
        try:
            line = Line()
            app = make_app(answering, name=service.name, api_key=service.api_key, line=line)
            server = listening.Server(
                app, line=line, grace_s=service.grace_s, break_off=answering.break_off
            )
            say(f"serving {service.name} on {where} at {_url(listener)}/v1 (Ctrl-C ends it)")
            say(f"try: {example(service, _url(listener))}")
            listening.run(server, listener)
        finally:
            answering.close()
    finally:
        listener.close()
    if server.broken_off:
        error = Interrupted if server.is_impatient else Terminated
        raise error(f"answers broken off: {server.broken_off}")
    say("all requests were answered; stopped")


def example(service: Service, url: str) -> str:
    """A request to paste into a shell. It names a temperature, which is 1 where a request has none,
    whatever the model was tuned for."""
    messages = [{"role": "user", "content": "Hello"}]
    body = json.dumps({"model": service.name, "messages": messages, "temperature": 0})
    key = ("-H", "Authorization: Bearer KEY") if service.api_key else ()
    kind = ("-H", "content-type: application/json")
    return shlex.join(["curl", f"{url}/v1/chat/completions", *key, *kind, "-d", body])


def _open(service: Service, *, model: Model, say: Callable[[str], None]) -> tuple[Answering, str]:
    """The model, loaded, and the device it is on."""
    chosen, said = vllm.choose_here(service.engine, device=service.device, way_round=_WAY_ROUND)
    for text in said:
        say(f"! {text}")
    if chosen == "vllm":
        return _open_vllm(service, model=model, say=say), "vLLM"
    from zephyrctl.serving.budget import budget_of
    from zephyrctl.serving.turns import Turns

    engine, notices = open_engine(service.ref, model=model, device=service.device)
    template_lock.check(Path(engine.path), engine.tokenizer)
    for text in (*notices, *engine.notices):
        say(f"! {text}")
    budget = budget_of(engine, rows=service.max_batch)
    for text in budget.said():
        say(text)
    turns = Turns(engine, max_new_tokens=service.max_new_tokens, budget=budget, say=say)
    return turns, str(engine.device)


def _open_vllm(service: Service, *, model: Model, say: Callable[[str], None]) -> Answering:
    from zephyrctl.serving.vllm_turns import VllmTurns

    folder = folder_of(service.ref)
    found = tokenizer_of(folder, fallback=model.chat_template)
    loaded = vllm.load_async(
        folder,
        digest=digest_of(service.ref),
        tokenizer=found.folder,
        chat_template=found.template,
        dtype=model.dtype,
        say=say,
        at_once=service.max_batch,
    )
    for text in found.notices:
        say(f"! {text}")
    turns = VllmTurns(loaded, max_new_tokens=service.max_new_tokens)
    try:
        template_lock.check(Path(folder), loaded.tokenizer)
    except DataError:
        turns.close()
        raise
    return turns


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


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def exposed(service: Service) -> list[str]:
    """A warning where other machines can ask and no key stops them."""
    try:
        is_local = ipaddress.ip_address(service.host).is_loopback
    except ValueError:
        is_local = service.host == "localhost"
    if is_local or service.api_key is not None:
        return []
    return [f"anyone who reaches {service.host} can use the model: --api-key-file FILE asks a key"]
