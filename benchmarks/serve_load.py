"""What do N streams at once cost against the same requests one after the other?

    python benchmarks/serve_load.py [--model DIR] [--streams 32] [--tokens 48] [--json]
                                    [--peer "COMMAND … {model} … {port}"] [--out benchmarks/results]

Contenders, each a server in a process of its own, asked in turn by the same client: `zephyrctl
serve`, and with --peer another server, for instance

    --peer "PEER_VENV/bin/transformers serve {model} --port {port} --device cpu"

For each: a warm-up, N streamed requests one after the other, then the same N at once. Printed are
tokens a second of all streams, the median and the worst time to the first text, and ratios; no
speed is promised, since it is the machine's. The tokens are those the server's usage counts, or the
pieces where it counts none. Without --model a small Llama with random weights is made.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shlex
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx

PATIENCE_S = 300
PACKAGES = ("zephyrctl", "torch", "transformers", "uvicorn")


@dataclass(frozen=True)
class Times:
    """One way of asking. `tokens` are those of all answers, times are seconds."""

    wall_s: float
    tokens: int
    first_median_s: float
    first_worst_s: float

    @property
    def rate(self) -> float:
        """Tokens a second of all streams together."""
        return self.tokens / self.wall_s


def small_model(folder: Path) -> Path:
    """A Llama of 20 million parameters with the toy recipe's tokenizer, and random weights."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

    from zephyrctl.models.resolve import locate

    tokenizer = AutoTokenizer.from_pretrained(locate("tiny").path)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=512, intermediate_size=1376, num_hidden_layers=6,
        num_attention_heads=8, num_key_value_heads=4, max_position_embeddings=2048,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    if tokenizer.chat_template is None:
        tokenizer.chat_template = (
            "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{{ eos_token }}\n{% endfor %}"
            "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
        )
    tokenizer.save_pretrained(folder)
    return folder


@contextmanager
def server(command: list[str], port: int) -> Iterator[str]:
    """A server in a child process, once it answers."""
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    child = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    url = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                if httpx.get(f"{url}/health", trust_env=False).status_code == 200:
                    break
            except httpx.TransportError:
                pass
            if child.poll() is not None or time.monotonic() > end:
                said = child.stderr.read().decode()[-800:] if child.stderr else ""
                raise SystemExit(f"{command[0]} does not serve: {said}")
            time.sleep(0.2)
        yield f"{url}/v1"
    finally:
        child.terminate()
        try:
            child.wait(timeout=30)
        except subprocess.TimeoutExpired:
            child.kill()


async def stream(client: httpx.AsyncClient, sent: dict[str, Any]) -> tuple[float, int]:
    """Seconds to the first text of one answer, and its tokens."""
    began = time.perf_counter()
    first, pieces, counted = None, 0, 0
    async with client.stream("POST", "chat/completions", json=sent) as response:
        if response.status_code != 200:
            raise SystemExit(f"HTTP {response.status_code}: {(await response.aread())[:300]!r}")
        async for line in response.aiter_lines():
            if not line.startswith("data: {"):
                continue
            record = json.loads(line.removeprefix("data: "))
            counted = (record.get("usage") or {}).get("completion_tokens") or counted
            for choice in record.get("choices", []):
                if choice["delta"].get("content"):
                    pieces += 1
                    first = first or time.perf_counter() - began
    return first or time.perf_counter() - began, counted or pieces


async def asked(url: str, bodies: list[dict[str, Any]], *, at_once: bool) -> Times:
    """All requests, at once or one after the other."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(
        base_url=url, timeout=PATIENCE_S, trust_env=False, limits=limits
    ) as client:
        began = time.perf_counter()
        if at_once:
            found = await asyncio.gather(*(stream(client, body) for body in bodies))
        else:
            found = [await stream(client, body) for body in bodies]
        wall = time.perf_counter() - began
    firsts = [first for first, _ in found]
    tokens = sum(count for _, count in found)
    return Times(wall, tokens, statistics.median(firsts), max(firsts))


def measured(command: list[str], port: int, model: str, *, streams: int, tokens: int) -> Any:
    """Both ways of asking one contender."""
    bodies = [
        {
            "model": model, "max_tokens": tokens, "temperature": 0, "stream": True,
            "stream_options": {"include_usage": True},
            "messages": [{"role": "user", "content": f"Ask {n}." + " Tell me more." * (n % 8)}],
        }
        for n in range(streams)
    ]  # fmt: skip
    with server(command, port) as url:
        asyncio.run(asked(url, bodies[:2], at_once=True))
        return {
            "in turn": asyncio.run(asked(url, bodies, at_once=False)),
            "at once": asyncio.run(asked(url, bodies, at_once=True)),
        }


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def shown(found: dict[str, dict[str, Times]]) -> list[str]:
    """A table, and the ratios."""
    lines = [f"{'server':14} {'way':8} {'tokens/s':>9} {'first, median':>14} {'worst':>8}"]
    for name, ways in found.items():
        for way, times in ways.items():
            lines.append(
                f"{name:14} {way:8} {times.rate:9.1f} {times.first_median_s:13.2f}s "
                f"{times.first_worst_s:7.2f}s"
            )
        ratio = ways["at once"].rate / ways["in turn"].rate
        lines.append(f"{name}: {ratio:.2f} times the tokens a second at once")
    if len(found) == 2:
        ours, theirs = found.values()
        for way in ours:
            ratio = ours[way].rate / theirs[way].rate
            lines.append(f"ours / peer, {way}: {ratio:.2f} times the tokens a second")
    return lines


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", type=Path)
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--peer")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = str(given.model or small_model(Path(folder)))
        port = free_port()
        commands = {
            "ours": [sys.executable, "-m", "zephyrctl", "serve", model, "--port", str(port)]
        }
        if given.peer:
            words = shlex.split(given.peer)
            commands["peer"] = [word.format(model=model, port=port) for word in words]
        found = {
            name: measured(command, port, model, streams=given.streams, tokens=given.tokens)
            for name, command in commands.items()
        }
    record = {
        "benchmark": "serve_load", "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "streams": given.streams, "tokens": given.tokens, "peer": given.peer,
        "cpu": platform.processor() or platform.machine(), "cores": os.cpu_count(),
        "packages": {name: version(name) for name in PACKAGES},
        "results": {
            name: {way: {**asdict(one), "tokens_per_s": one.rate} for way, one in ways.items()}
            for name, ways in found.items()
        },
    }  # fmt: skip
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        path = given.out / "cpu-serve-load.json"
        path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(record) if given.json else "\n".join(shown(found)))


if __name__ == "__main__":
    main()
