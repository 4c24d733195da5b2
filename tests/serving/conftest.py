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
from zephyrctl.serving.server import bind, make_server
from zephyrctl.serving.turns import Turns


@pytest.fixture(scope="session")
def engine(tiny_base: Path) -> Engine:
    """The engine that the server shares with nobody else while a request is under way."""
    return load_engine(str(tiny_base), dtype="float32", device="cpu", chat_template="zephyr")


@contextmanager
def running(engine: Any, *, api_key: str | None = None) -> Iterator[str]:
    """A server of `engine` as model `@dpo`; yields its address."""
    listener = bind("127.0.0.1", 0)
    turns = Turns(engine, max_new_tokens=12)
    server = make_server(make_app(turns, name="@dpo", api_key=api_key))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=30)
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
