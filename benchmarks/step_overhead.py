"""What do signs of life and votes about stopping add to a training step?

    python benchmarks/step_overhead.py [--repeat 300] [--json] [--out FILE]

Measured are one heartbeat (a record written in place) and one vote (an all-reduce of two numbers,
gloo on this machine) with one and two processes, as medians, and the optimizer step of two Llamas
on one core: the toy of the `tiny` recipe's size over 256 tokens, and one of 135 M parameters over
512. A step has a heartbeat, and a vote at most every second, as `training.stops` does it after
its first steps; the share is of each model's own step. Exit 1 where one is over the 0.1 % that the
project promises.
"""

import argparse
import json
import os
import platform
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing

from zephyrctl.runs import heartbeat
from zephyrctl.training.processes import largest
from zephyrctl.training.stops import VOTE_S

LIMIT = 0.001
CPU = torch.device("cpu")
MODELS = {
    "tiny": ({"hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 2,
              "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 1024}, (8, 32)),
    "135M": ({"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
              "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152}, (4, 128)),
}  # fmt: skip
"""Configuration of a Llama, and the shape `(B, T)` of a step's only pass."""


def median_of(do: Callable[[], object], repeat: int) -> float:
    """Median seconds of a call, after some that are not counted."""
    for _ in range(1 + repeat // 10):
        do()
    times = []
    for _ in range(repeat):
        began = time.perf_counter()
        do()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def beat_seconds(folder: Path, repeat: int) -> float:
    """Of one heartbeat."""
    heartbeat.install(folder, rank=0)
    return median_of(lambda: heartbeat.beat("steps"), repeat)


def vote_seconds(processes: int, repeat: int) -> float:
    """Of one vote, among so many processes of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    told = context.SimpleQueue()
    multiprocessing.spawn(  # type: ignore[attr-defined]
        _vote, args=(processes, port, repeat, told), nprocs=processes
    )
    return told.get()


def _vote(rank: int, processes: int, port: int, repeat: int, told: Any) -> None:
    torch.set_num_threads(1)
    address = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=processes)
    found = median_of(lambda: largest([0.0, 0.01], device=CPU), repeat)
    if rank == 0:
        told.put(found)
    dist.destroy_process_group()


def step_seconds(name: str) -> float:
    """Of an optimizer step: forward, backward, clipping and AdamW."""
    from transformers import LlamaConfig, LlamaForCausalLM

    given, shape = MODELS[name]
    settings: dict[str, Any] = dict(given)
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**settings))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    ids = torch.randint(0, settings["vocab_size"], shape)

    def step() -> None:
        model(input_ids=ids, labels=ids).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return median_of(step, 3 if name == "135M" else 30)


def share(beat: float, vote: float, *, step: float) -> float:
    """Part of a step that a heartbeat and its votes take."""
    steps_per_vote = max(1, int(VOTE_S / step))
    return (beat + vote / steps_per_vote) / step


def measure(repeat: int) -> dict[str, Any]:
    """Everything in seconds, and the shares by model and number of processes."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        beat = beat_seconds(Path(folder), repeat)
    votes = {number: vote_seconds(number, repeat) for number in (1, 2)}
    steps = {name: step_seconds(name) for name in MODELS}
    # Alone, a process looks at a flag and asks nobody.
    shares = {
        name: {
            str(number): share(beat, vote if number > 1 else 0.0, step=step)
            for number, vote in votes.items()
        }
        for name, step in steps.items()
    }
    return {
        "heartbeat_s": beat,
        "vote_s": {str(number): vote for number, vote in votes.items()},
        "vote_every_s": VOTE_S,
        "step_s": steps,
        "share": shares,
        "limit": LIMIT,
        "machine": {
            "cores": os.cpu_count(),
            "arch": platform.machine(),
            "torch": torch.__version__,
        },
    }


def show(found: dict[str, Any]) -> None:
    """The result as lines."""
    print(f"heartbeat {found['heartbeat_s'] * 1e6:7.1f} µs")
    for number, vote in found["vote_s"].items():
        print(f"vote      {vote * 1e6:7.1f} µs  {number} process{'es' if number != '1' else ''}")
    for name, step in found["step_s"].items():
        for number, part in found["share"][name].items():
            mark = "over" if part > LIMIT else "ok"
            print(
                f"{part:8.4%} of a step of {step * 1e3:8.1f} ms  {mark:<4} {name}, {number} proc."
            )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=300, help="heartbeats and votes measured")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--out", type=Path, help="also write the JSON object to this file")
    given = parser.parse_args()
    found = measure(given.repeat)
    if given.out is not None:
        given.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if given.json:
        print(json.dumps(found))
    else:
        show(found)
    return int(any(part > LIMIT for each in found["share"].values() for part in each.values()))


if __name__ == "__main__":
    sys.exit(main())
