"""Does a frame of a long chat reply cost more at its end than at its beginning?

    python benchmarks/chat_frames.py [--json] [--out benchmarks/results] [--tokens 10000]

Each reply is fed token by token to the drawing that `zephyrctl chat` uses, with a frame after every
four tokens (50 tokens/s at 12 frames/s), on a screen of 80×24 that is a string. A frame's cost is
the CPU time of everything between two frames: safe text, blocks, layout, escape sequences. Beside
it the naive way: Rich's Markdown of the whole text so far, at a sample of the same frames. Figures
are means over the first and the last 1,000 tokens, each frame the least of `--rounds` rounds; the
tokens between them have fewer frames. Exit 1 where ours grows by more than a fifth.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import random
import re
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown

from zephyrctl.chat.view import Drawing

AIM = 1.2
FRAME_TOKENS = 4
WINDOW = 1000
NAIVE_SAMPLES = 12
LINK = "[paper](https://arxiv.org/abs/2305.18290)"
WORDS = f"""the model learns a policy from *preferred* answers and `beta` holds it near its
    reference while **every** pair moves some probability as this {LINK} says others found that
    likelihoods fall on both sides""".split()


def words(source: random.Random, count: int) -> str:
    """Words, some of them emphasised, code or links."""
    return " ".join(source.choice(WORDS) for _ in range(count))


def prose(source: random.Random) -> str:
    """A usual answer: a heading, a paragraph, a list, some code."""
    items = "".join(f"- **{words(source, 2)}**: {words(source, 12)}\n" for _ in range(4))
    return (
        f"## {words(source, 4)}\n\n{words(source, 70)}.\n\n{items}\n"
        f"```python\n{code(source) * 3}```\n\n"
    )


def paragraph(source: random.Random) -> str:
    """A sentence of a paragraph without end."""
    return words(source, 20) + ". "


def code(source: random.Random) -> str:
    """A line of code; the fence around it stays open."""
    return f"    value_{source.randrange(99)} = compute('text', {source.randrange(999)})  # note\n"


def listing(source: random.Random) -> str:
    """An item with a nested one."""
    return f"1. {words(source, 14)}\n   - {words(source, 9)}\n"


def table(source: random.Random) -> str:
    """A row."""
    return f"| {words(source, 2)} | {source.random():.4f} | {words(source, 7)} |\n"


def single_line(source: random.Random) -> str:
    """A stretch of a line that has no spaces and no end."""
    return "".join(source.choice("abcdefghij0123456789") for _ in range(100))


KINDS = {
    "prose": ("", prose),
    "one paragraph": ("", paragraph),
    "one code block": ("```python\n", code),
    "one list": ("", listing),
    "one table": ("| name | value | remark |\n|---|---:|---|\n", table),
    "one line, 1 MB": ("", single_line),
}


def tokens_of(kind: str, count: int) -> list[str]:
    """About `count` pieces of a reply as a model would give them: a word with its space."""
    head, more = KINDS[kind]
    source = random.Random(7)
    if kind == "one line, 1 MB":
        return [more(source) for _ in range(count)]
    tokens = re.findall(r"\s*\S{1,6}", head)
    while len(tokens) < count:
        tokens += re.findall(r"\S{1,6}\s*|\s+", more(source))
    return tokens[:count]


def ours(tokens: list[str]) -> tuple[list[float], list[float]]:
    """CPU seconds of each frame in the first and in the last window; few frames between them."""
    console = Console(file=io.StringIO(), force_terminal=True, color_system="256", width=80)
    drawing = Drawing(console, size=lambda: os.terminal_size((80, 24)), write=lambda text: None)

    def frames(start: int, end: int, step: int) -> list[float]:
        costs = []
        for first in range(start, end, step):
            before = time.thread_time()
            for token in tokens[first : min(first + step, end)]:
                drawing.feed(token)
            drawing.frame()
            costs.append(time.thread_time() - before)
        return costs

    first = frames(0, WINDOW, FRAME_TOKENS)
    frames(WINDOW, len(tokens) - WINDOW, 10 * FRAME_TOKENS)
    return first, frames(len(tokens) - WINDOW, len(tokens), FRAME_TOKENS)


def quietest(runs: list[list[float]]) -> list[float]:
    """Each frame's least cost over the rounds: what other work on the machine adds is left out."""
    return [min(costs) for costs in zip(*runs, strict=True)]


def naive(tokens: list[str], frames: list[int]) -> float:
    """Mean CPU seconds of drawing the whole text so far, at some frames."""
    console = Console(file=io.StringIO(), force_terminal=True, color_system="256", width=80)
    seconds = 0.0
    for frame in frames:
        text = "".join(tokens[: (frame + 1) * FRAME_TOKENS])
        before = time.thread_time()
        console.render_lines(Markdown(text))
        seconds += time.thread_time() - before
    return seconds / len(frames)


def measured(kind: str, count: int, rounds: int) -> dict[str, float | str]:
    """A row of the table; times in milliseconds a frame."""
    tokens = tokens_of(kind, count)
    window, total = WINDOW // FRAME_TOKENS, len(tokens) // FRAME_TOKENS
    runs = [ours(tokens) for _ in range(rounds)]
    first, last = (quietest([run[which] for run in runs]) for which in (0, 1))
    first_ms, last_ms = (sum(costs) / len(costs) * 1e3 for costs in (first, last))
    step = window // NAIVE_SAMPLES
    row: dict[str, float | str] = {
        "kind": kind,
        "characters": sum(map(len, tokens)),
        "first_ms": first_ms,
        "last_ms": last_ms,
        "ratio": last_ms / first_ms,
        "slowest_ms": max(*first, *last) * 1e3,
    }
    if kind != "one line, 1 MB":  # minutes a frame
        row["naive_first_ms"] = naive(tokens, list(range(step, window, step))) * 1e3
        row["naive_last_ms"] = naive(tokens, list(range(total - window, total, window // 3))) * 1e3
        row["naive_ratio"] = float(row["naive_last_ms"]) / float(row["naive_first_ms"])
    return row


def table_of(rows: list[dict[str, float | str]]) -> str:
    """The rows in Markdown."""
    lines = [
        "| reply | characters | first 1,000 tokens | last 1,000 | last / first | slowest frame "
        "| naive, first | naive, last | last / first |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        plain = [f"{row[name]:.2f}" for name in ("first_ms", "last_ms", "ratio", "slowest_ms")]
        beside = ["–", "–", "–"]
        if "naive_ratio" in row:
            beside = [f"{row[f'naive_{name}']:.1f}" for name in ("first_ms", "last_ms", "ratio")]
        cells = [str(row["kind"]), f"{row['characters']:,}", *plain, *beside]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=10_000, help="length of each reply")
    parser.add_argument("--rounds", type=int, default=7, help="each frame's least is kept")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--out", type=Path, help="folder for cpu-chat-frames.json and .md")
    args = parser.parse_args()
    ours(tokens_of("prose", 2000))  # imports, lexers
    rows = [measured(kind, args.tokens, args.rounds) for kind in args.kinds]
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
    report = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine,
        "versions": {name: version(name) for name in ("rich", "markdown-it-py", "pygments")},
        "tokens": args.tokens,
        "unit": "CPU milliseconds a frame",
        "rows": rows,
    }
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "cpu-chat-frames.json").write_text(json.dumps(report, indent=1) + "\n")
        text = f"{machine}; CPU milliseconds a frame.\n\n{table_of(rows)}\n"
        (args.out / "cpu-chat-frames.md").write_text(text)
    print(json.dumps(report) if args.json else table_of(rows))
    return 1 if max(float(row["ratio"]) for row in rows) > AIM else 0


if __name__ == "__main__":
    sys.exit(main())
