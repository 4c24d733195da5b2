"""How many judgments a second come from a service with 64 slots and 200 ms to an answer?

    python benchmarks/judge_load.py [--json] [--out benchmarks/results] [--requests 6400]

Contenders, each in a process of its own, in turn, against the same server in a third process:

    ours        `judged` with a remote judge: the client with its pace, every judgment a row on disk
    one-client  one httpx.AsyncClient, a semaphore of 64, a task a request, rows on disk
    threads     64 threads with a blocking httpx.Client each, as FastChat's `--parallel 64`, rows
                on disk under a lock

The slots' capacity is slots / latency. The rate counts replies after the warm-up (a tenth of the
requests) and before the end (the last 64, for which slots stand empty). No contender meets a fault
here. Exit 1 where ours is under nine tenths of the capacity.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[1]
AIM = 0.9
WORDS = 800
"""Words of a prompt, about what MT-Bench's judge prompts have."""
PACKAGES = ("zephyrctl", "httpx", "httpcore", "h11", "anyio")


def prompt(number: int) -> str:
    """A prompt of its own for each request."""
    return f"Question {number}. " + "some words of an answer " * (WORDS // 5)


def ours(url: str, count: int, at_once: int, path: Path, tick: Callable[[], None]) -> None:
    """What the evaluation stage does."""
    from zephyrctl.config.layers import load
    from zephyrctl.evaluation.judges.contract import JudgeReply, JudgeRequest
    from zephyrctl.evaluation.judges.remote import RemoteJudge
    from zephyrctl.evaluation.judging import judged

    flags = {"eval.judge.spec": f"openai+{url}:judge", "eval.judge.concurrency": at_once}
    requests = [
        JudgeRequest(number, 1, "single-v1", "Judge.", prompt(number), ("m",))
        for number in range(count)
    ]

    def row(index: int, reply: JudgeReply) -> dict[str, Any]:
        return {"question_id": index, "judgment": reply.text}

    judge = RemoteJudge(load(flags=flags, env={}, cwd=path.parent).recipe)
    judged(judge, requests, path=path, make_row=row, on_done=lambda done, total: tick())


def one_client(url: str, count: int, at_once: int, path: Path, tick: Callable[[], None]) -> None:
    """httpx and a semaphore."""

    async def everything() -> None:
        slots = asyncio.Semaphore(at_once)
        limits = httpx.Limits(max_connections=at_once, max_keepalive_connections=at_once)
        async with httpx.AsyncClient(timeout=60, limits=limits, trust_env=False) as client:

            async def one(number: int) -> None:
                async with slots:
                    reply = await client.post(f"{url}/chat/completions", json=_body(number))
                _keep(path, number, reply)
                tick()

            await asyncio.gather(*(one(number) for number in range(count)))

    asyncio.run(everything())


def threads(url: str, count: int, at_once: int, path: Path, tick: Callable[[], None]) -> None:
    """Blocking clients."""
    mine = threading.local()
    lock = threading.Lock()

    def one(number: int) -> None:
        if not hasattr(mine, "client"):
            mine.client = httpx.Client(timeout=60, trust_env=False)
        reply = mine.client.post(f"{url}/chat/completions", json=_body(number))
        with lock:
            _keep(path, number, reply)
            tick()

    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(one, range(count)))


CONTENDERS = {"ours": ours, "one-client": one_client, "threads": threads}


def _body(number: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": prompt(number)}]
    return {"model": "judge", "messages": messages, "max_tokens": 2048, "temperature": 0.0}


def _keep(path: Path, number: int, reply: httpx.Response) -> None:
    text = reply.json()["choices"][0]["message"]["content"]
    with path.open("a") as stream:
        stream.write(json.dumps({"question_id": number, "judgment": text}) + "\n")


def work(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Run one contender in this process; its figures."""
    moments: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "judgments.jsonl"
        before = resource.getrusage(resource.RUSAGE_SELF)
        began = time.monotonic()
        CONTENDERS[name](
            options.url,
            options.requests,
            options.slots,
            path,
            lambda: moments.append(time.monotonic()),
        )
        seconds = time.monotonic() - began
        after = resource.getrusage(resource.RUSAGE_SELF)
        rows = [json.loads(line)["question_id"] for line in path.read_text().splitlines()]
    assert sorted(rows) == list(range(options.requests))
    moments.sort()
    inner = moments[options.requests // 10 : -options.slots]
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    rate = (len(inner) - 1) / (inner[-1] - inner[0])
    return {
        "judgments_per_s": rate,
        "share_of_capacity": rate / (options.slots / options.latency),
        "seconds": seconds,
        "cpu_ms_per_judgment": 1000 * cpu / options.requests,
    }


def race(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Run one contender and its server in fresh processes."""
    serve = [sys.executable, "-m", "tests.fakes", "--delay", str(options.latency)]
    with subprocess.Popen(
        [*serve, "--slots", str(options.slots)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as server:  # fmt: skip
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        asked = ["--contender", name, "--url", url, "--requests", str(options.requests)]
        asked += ["--slots", str(options.slots), "--latency", str(options.latency)]
        load = os.getloadavg()[0]
        done = subprocess.run(
            [sys.executable, __file__, *asked],
            stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
        server.terminate()
    return {**json.loads(done.stdout), "load_before": load}


def report(options: argparse.Namespace) -> dict[str, Any]:
    """Race all contenders, round by round; the best round of each."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in options.contenders}
    for _ in range(options.repeats):
        for name in options.contenders:
            found[name].append(race(name, options))
    best = {
        name: max(rounds, key=lambda each: each["judgments_per_s"])
        for name, rounds in found.items()
    }
    first = best["ours"]["judgments_per_s"] if "ours" in best else None
    return {
        "benchmark": "judge_load",
        "requests": options.requests,
        "slots": options.slots,
        "latency_s": options.latency,
        "capacity_per_s": options.slots / options.latency,
        "aim": AIM,
        "rounds": options.repeats,
        "command": f"python benchmarks/{Path(__file__).name} {' '.join(sys.argv[1:])}".strip(),
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "machine": machine(),
        "contenders": best,
        "all_rounds": found,
        "ours_over": {
            name: first / each["judgments_per_s"]
            for name, each in best.items()
            if first is not None and name != "ours"
        },
    }


def machine() -> dict[str, Any]:
    """Where this ran."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    models = [line.partition(":")[2].strip() for line in info.splitlines() if "model name" in line]
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": f"{os.cpu_count()} x {models[0] if models else platform.machine()}",
        "versions": {name: version(name) for name in PACKAGES},
    }


def table(found: dict[str, Any]) -> str:
    """The figures in words and columns."""
    lines = [
        f"{found['requests']:,} requests, {found['slots']} slots, {found['latency_s']:g} s: "
        f"capacity {found['capacity_per_s']:.0f}/s, aim {found['aim']:.0%}",
        f"{'':<12}{'per s':>8}{'share':>8}{'seconds':>9}{'CPU ms':>8}{'load':>6}",
    ]
    for name, each in found["contenders"].items():
        lines.append(
            f"{name:<12}{each['judgments_per_s']:8.1f}{each['share_of_capacity']:8.1%}"
            f"{each['seconds']:9.1f}{each['cpu_ms_per_judgment']:8.2f}{each['load_before']:6.1f}"
        )
    return "\n".join(lines)


def write(found: dict[str, Any], folder: Path) -> None:
    """The result as JSON and for reading."""
    machine = found["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    (folder / "cpu-judge-load.json").write_text(json.dumps(found, indent=1) + "\n")
    (folder / "cpu-judge-load.md").write_text(
        f"# judge_load\n\n    {found['command']}\n\n"
        f"{found['date']}; {machine['processor']}; {versions}.\n\n```\n{table(found)}\n```\n"
    )


def main() -> int:
    """Race, print, and write the result where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=6400)
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--out", type=Path, help="folder for cpu-judge-load.json and .md")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        print(json.dumps(work(options.contender, options)))
        return 0
    found = report(options)
    if options.json:
        print(json.dumps(found))
    else:
        print(table(found))
    if options.out is not None:
        write(found, options.out)
    ours_share = found["contenders"].get("ours", {}).get("share_of_capacity", 1.0)
    return 0 if ours_share >= AIM else 1


if __name__ == "__main__":
    sys.exit(main())
