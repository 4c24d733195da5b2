"""Drill 26: 200 streams at once against the real command, curl, and signals amid open answers."""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.drills.conftest import Yard
from tests.serving.child import served

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(280)]

STREAMS = 200
MIB = 2**20
WORDS = "offer tea pasta to mia ravi politely then tell about the weather in a short letter".split()  # noqa: SIM905


@dataclass(frozen=True)
class Served:
    """A child that serves, and its address."""

    child: "subprocess.Popen[str]"
    url: str

    def client(self) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=None)
        return httpx.AsyncClient(base_url=self.url, timeout=200, trust_env=False, limits=limits)

    def memory(self, name: str) -> int:
        """Bytes of `VmRSS`, what it holds now, or `VmHWM`, the most it held."""
        text = Path(f"/proc/{self.child.pid}/status").read_text()
        found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
        assert found is not None
        return int(found[1]) * 1024


@contextmanager
def serving(yard: Yard, model: Path, *arguments: str) -> Iterator[Served]:
    argv = yard.argv("serve", str(model), "--device", "cpu", *arguments)
    with served(argv, folder=yard.folder, env=yard.env) as (child, url, said):
        assert "answers at once" in said
        yield Served(child, url)


def ask(model: Path, number: int, **fields: Any) -> dict[str, Any]:
    words = [WORDS[(number * 7 + place * (1 + number % 5)) % len(WORDS)]
             for place in range(2 + number % 9)]  # fmt: skip
    return {"model": str(model), "temperature": 0, "max_tokens": 8 + number % 9,
            "messages": [{"role": "user", "content": " ".join([*words, str(number)])}],
            **fields}  # fmt: skip


async def streamed(client: httpx.AsyncClient, sent: dict[str, Any]) -> str:
    """The text of a stream that is whole."""
    text, last = "", ""
    async with client.stream("POST", "chat/completions", json={**sent, "stream": True}) as response:
        assert response.status_code == 200, await response.aread()
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                (one,) = json.loads(line.removeprefix("data: "))["choices"]
                text += one["delta"].get("content") or ""
            last = line or last
    assert last == "data: [DONE]"
    return text


async def alone(client: httpx.AsyncClient, sent: dict[str, Any]) -> str:
    response = await client.post("chat/completions", json=sent)
    return response.json()["choices"][0]["message"]["content"]


def test_26_two_hundred_streams_are_each_answered_as_alone_in_bounded_memory(
    yard: Yard, tiny_base: Path
) -> None:
    asked = [ask(tiny_base, number) for number in range(STREAMS)]

    async def everything() -> tuple[list[str], list[str]]:
        async with service.client() as client:
            want = [await alone(client, sent) for sent in asked]
            before = service.memory("VmRSS")
            got = await asyncio.gather(*(streamed(client, sent) for sent in asked))
            most = service.memory("VmHWM")
        sys.stdout.write(f"{STREAMS} streams: {before // MIB} MiB before, at most {most // MIB}\n")
        assert most < before + 150 * MIB
        return want, got

    with serving(yard, tiny_base) as service:
        want, got = asyncio.run(everything())
        assert len(set(want)) > STREAMS // 2, "answers tell the prompts apart"
        assert got == want
        service.child.send_signal(signal.SIGTERM)
        assert service.child.wait(timeout=60) == 0


def test_26_sigterm_finishes_open_streams_and_turns_others_away(
    yard: Yard, tiny_base: Path
) -> None:
    asked = [ask(tiny_base, number, max_tokens=500) for number in range(20)]

    async def everything() -> tuple[list[str], int]:
        async with service.client() as client:
            streams = [asyncio.ensure_future(streamed(client, sent)) for sent in asked]
            await asyncio.sleep(1)
            service.child.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.3)
            late = await client.post("chat/completions", json=asked[0])
            assert not all(stream.done() for stream in streams)
            return await asyncio.gather(*streams), late.status_code

    with serving(yard, tiny_base) as service:
        texts, late = asyncio.run(everything())
        _, err = service.child.communicate(timeout=60)
    assert all(texts)
    assert late == 503
    assert service.child.returncode == 0
    assert "stopped" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "signals", "code"),
    [((), [signal.SIGINT, signal.SIGINT], 130), (("--grace", "1"), [signal.SIGTERM], 143)],
    ids=["second Ctrl-C", "grace"],
)
def test_26_what_is_broken_off_is_told_and_has_its_code(
    arguments: tuple[str, ...], signals: list[signal.Signals], code: int, yard: Yard,
    tiny_base: Path,
) -> None:  # fmt: skip
    asked = ask(tiny_base, 1, max_tokens=100_000, n=16, stream=True)

    async def everything() -> str:
        async with service.client() as client:
            text = ""
            async with client.stream("POST", "chat/completions", json=asked) as response:
                async for piece in response.aiter_text():
                    if not text:
                        for number in signals:
                            service.child.send_signal(number)
                            await asyncio.sleep(0.3)
                    text += piece
            return text

    with serving(yard, tiny_base, *arguments) as service:
        text = asyncio.run(everything())
        _, err = service.child.communicate(timeout=60)
    assert "broke this answer off" in text
    assert "[DONE]" not in text
    assert "answers broken off: 1" in err
    assert service.child.returncode == code
    assert "Traceback" not in err


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_26_curl_is_answered_and_told_what_is_wrong(yard: Yard, tiny_base: Path) -> None:
    key = yard.folder / "serve.key"
    key.write_text("s3cret\n")
    key.chmod(0o600)

    def curl(path: str, *more: str) -> str:
        done = subprocess.run(
            ["curl", "--silent", "--no-buffer", "--noproxy", "*", service.url + path, *more],
            capture_output=True, text=True, timeout=60, check=True,
            env={"PATH": os.environ["PATH"]},
        )  # fmt: skip
        return done.stdout

    bearer = ("-H", "Authorization: Bearer s3cret")
    kind = ("-H", "Content-Type: application/json")
    body = ask(tiny_base, 3)
    with serving(yard, tiny_base, "--api-key-file", str(key)) as service:
        assert json.loads(curl("/models"))["error"]["code"] == "invalid_api_key"
        assert json.loads(curl("/models", *bearer))["data"][0]["id"] == str(tiny_base)
        sent = ("-d", json.dumps(body))
        whole = json.loads(curl("/chat/completions", *bearer, *kind, *sent))
        stream = curl(
            "/chat/completions", *bearer, *kind, "-d", json.dumps({**body, "stream": True})
        )
        form = json.loads(curl("/chat/completions", *bearer, *sent))
        os.kill(service.child.pid, signal.SIGTERM)
        out, err = service.child.communicate(timeout=60)
    assert form["error"]["message"] == "the body must be sent as content-type: application/json"
    chunks = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: {")]
    pieces = [chunk["choices"][0]["delta"].get("content", "") for chunk in chunks]
    assert "".join(pieces) == whole["choices"][0]["message"]["content"]
    assert stream.endswith("data: [DONE]\n\n")
    assert out == ""
    assert "s3cret" not in err
    assert body["messages"][0]["content"] not in err
