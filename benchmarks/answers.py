"""How much faster are a benchmark's answers where places are refilled?

    python benchmarks/answers.py --model ~/.cache/zephyrctl/models/smollm2-135m-instruct-1

The same questions, each with an answer of a given length, by three ways in turn: `refill` (ours),
`groups` (one group of like length after the other; finished rows leave, nobody joins) and
`in order` (transformers' `generate`, groups as the questions come, each as long as its longest
answer). Lengths are log-normal, 250 tokens on average and 1,024 at most, divided by `--scale`.
CPU time of this process is what is compared: other programs do not count in it.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from zephyrctl.data.messages import Message
from zephyrctl.generation import decoding
from zephyrctl.generation.engine import Engine, load_engine
from zephyrctl.generation.sampling import Sampling

LONGEST = 1024
MEAN, SIGMA = 250, 0.9
SENTENCE = "write a short letter to your friend about the weather and what you had for lunch"


def drawn_lengths(count: int, *, scale: int, seed: int) -> list[int]:
    """Answer lengths in tokens."""
    rng = random.Random(seed)
    middle = math.log(MEAN) - SIGMA**2 / 2
    return [
        max(1, min(LONGEST, round(rng.lognormvariate(middle, SIGMA))) // scale)
        for _ in range(count)
    ]


def questions(count: int, *, seed: int) -> list[list[Message]]:
    """Prompts of 10 to 150 words."""
    rng = random.Random(seed)
    words = SENTENCE.split()
    return [
        [Message("user", " ".join(rng.choices(words, k=rng.randint(10, 150))))]
        for _ in range(count)
    ]


def ours(engine: Engine, asked: Any, lengths: list[int], *, size: int, refill: float) -> int:
    """Decode with our loop; returns the tokens made."""
    decoding._REFILL_AT = refill
    rows, _ = engine._rows(asked, Sampling(max_new_tokens=LONGEST))
    for row, length in zip(rows, lengths, strict=True):
        row.limit = length
    rows.sort(key=lambda row: (-len(row.prompt), row.index))
    for _ in engine.decoder.decode(rows, Sampling(), at_once=size):
        pass
    return sum(len(row.tokens) for row in rows)


@torch.inference_mode()
def in_order(engine: Engine, asked: Any, lengths: list[int], *, size: int) -> int:
    """Decode with `generate`, group by group."""
    encoded = [engine.encode(prompt) for prompt in asked]
    for start in range(0, len(encoded), size):
        ids, mask = engine.decoder.reader.padded(encoded[start : start + size])
        longest = max(lengths[start : start + size])
        engine.model.generate(
            input_ids=ids, attention_mask=mask, min_new_tokens=longest, max_new_tokens=longest,
            do_sample=False, pad_token_id=engine.tokenizer.pad_token_id,
        )  # fmt: skip
    return sum(lengths)


def main() -> None:
    """Race the ways in turn and print the median of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--questions", type=int, default=80)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--scale", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--refill-at", type=float, nargs="*", default=[0.25])
    parser.add_argument("--skip-in-order", action="store_true")
    given = parser.parse_args()
    engine = load_engine(given.model, dtype="float32", device="cpu", chat_template="zephyr")
    engine.decoder.reader.stop_ids = frozenset()
    asked = questions(given.questions, seed=1)
    lengths = drawn_lengths(given.questions, scale=given.scale, seed=2)
    size = given.batch_size
    ways: dict[str, Callable[[], int]] = {
        f"refill at {share}": lambda share=share: ours(
            engine, asked, lengths, size=size, refill=share
        )
        for share in given.refill_at
    }
    ways["groups"] = lambda: ours(engine, asked, lengths, size=size, refill=math.inf)
    if not given.skip_in_order:
        ways["in order"] = lambda: in_order(engine, asked, lengths, size=size)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(given.rounds):
        for name, way in ways.items():
            began = time.process_time()
            tokens = way()
            times[name].append(time.process_time() - began)
    best = min(statistics.median(found) for found in times.values())
    for name, found in times.items():
        middle = statistics.median(found)
        shown = " ".join(f"{seconds:.1f}" for seconds in found)
        speed = f"{middle:7.1f} s  {tokens / middle:7.1f} tok/s  {middle / best:.2f}"
        print(f"{name:<16} {speed}  ({shown})")


if __name__ == "__main__":
    main()
