"""The tiny model behind a real server on a free port, in a thread."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from zephyrctl.generation.engine import Engine, load_engine
from zephyrctl.serving.app import make_app
from zephyrctl.serving.budget import Budget
from zephyrctl.serving.line import Line
from zephyrctl.serving.listening import Server
from zephyrctl.serving.server import bind
from zephyrctl.serving.turns import Turns

ROOMY = Budget(rows=8, tokens=10**6, part=64, joins=True)
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="session")
def engine(tiny_base: Path) -> Engine:
    """The engine that the server shares with nobody else while a request is under way."""
    return load_engine(str(tiny_base), dtype="float32", device="cpu", chat_template="zephyr")


@contextmanager
def running(
    engine: Any, *, api_key: str | None = None, budget: Budget = ROOMY, line: Line | None = None
) -> Iterator[str]:
    """A server of `engine` as model `@dpo`; yields its address."""
    turns = Turns(engine, max_new_tokens=12, budget=budget)
    with answering(turns, api_key=api_key, line=line) as url:
        yield url


@contextmanager
def answering(turns: Any, *, api_key: str | None = None, line: Line | None = None) -> Iterator[str]:
    """A server of whatever answers."""
    listener = bind("127.0.0.1", 0)
    line = line or Line()
    app = make_app(turns, name="@dpo", api_key=api_key, line=line)
    server = Server(app, line=line, grace_s=60, break_off=turns.break_off)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.drain()
        thread.join(timeout=90)
        turns.close()
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def url(engine: Engine) -> Iterator[str]:
    """The address of a server without a key."""
    with running(engine) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    """An HTTP client of that server."""
    with httpx.Client(base_url=url, timeout=60.0, trust_env=False) as client:
        yield client
