"""How long does a checkpoint take, and how much of that is looking at it?

    python benchmarks/checkpoint_save.py [--gb 1] [--repeat 3] [--folder DIR] [--json]

Writes a training state of that size as training does (weights by safetensors, an optimizer's two
moments by torch.save), commits it, and times: writing; the commit (sync and digests at once,
manifest, rename, reading back); reading back alone; digests alone. Beside it stand the disk's plain
speed (one file, synced) and what a background thread would spare: matrix products go on while the
same state is copied and written.

The promise is a reading back of at most 2 % of the save at 1 GB. All times are wall seconds, the
median of the repeats; what is read back comes from the page cache, as in training.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from zephyrctl.training import checkpoint_record, checkpoints, saving
from zephyrctl.training.checkpoints import Facts, Work

PROMISE = 0.02
WORK = Work({"benchmark": True}, world_size=1, strategy="single", sharded=False)
TENSOR = 2**23
"""Values of a tensor: 32 MiB in float32, as a layer of a few billion weights has."""


def main(arguments: list[str] | None = None) -> int:
    """Print the figures; 1 where the promise is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gb", type=float, default=1.0, help="gigabytes of a checkpoint")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="on the disk to be measured")
    parser.add_argument("--json", action="store_true", help="one JSON object on one line")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        figures = measure(Path(folder), gigabytes=given.gb, repeat=given.repeat)
    if given.json:
        print(json.dumps(figures))
    else:
        for line in lines(figures):
            print(line)
    return int(figures["verify_share"] > PROMISE)


def measure(folder: Path, *, gigabytes: float, repeat: int) -> dict[str, Any]:
    """Median seconds of each part, over `repeat` saves of different content."""
    rows: list[dict[str, float]] = []
    for number in range(repeat):
        weights, moments = state(gigabytes, seed=number)
        rows.append(one(folder / str(number), weights, moments))
        shutil.rmtree(folder / str(number))
    medians = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
    return {
        **{key: round(value, 4) for key, value in medians.items()},
        "bytes": int(medians["bytes"]),
        "verify_share": round(medians["verify_s"] / medians["save_s"], 4),
        "disk_mb_per_s": round(medians["bytes"] / medians["plain_s"] / 1e6),
        "promise": PROMISE,
        "repeats": repeat,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, load {os.getloadavg()[0]:.1f}",
    }


def state(gigabytes: float, *, seed: int) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Weights, and an optimizer's state of twice their size."""
    values = max(3, int(gigabytes * 1e9 / 4))
    generator = torch.Generator().manual_seed(seed)
    sizes = [min(TENSOR, values // 3 - start) for start in range(0, values // 3, TENSOR)]

    def made() -> dict[str, torch.Tensor]:
        return {f"layer.{i}": torch.rand(n, generator=generator) for i, n in enumerate(sizes)}

    return made(), {"exp_avg": made(), "exp_avg_sq": made()}


def one(
    folder: Path, weights: dict[str, torch.Tensor], moments: dict[str, Any]
) -> dict[str, float]:
    """Seconds of one save and of its parts."""
    # The state has three parts of the size of the weights.
    plain = 3 * timed(lambda: write_plain(folder / "plain", weights))
    partial = checkpoints.begin(folder, 1)
    write = timed(lambda: write_state(partial, weights, moments))
    facts = Facts(WORK, step=1, total=1, epoch=0, taken=1)
    commit = timed(lambda: checkpoints.commit(partial, facts))
    final = checkpoints.folder_of(folder, 1)
    record = checkpoint_record.read(final)
    verify = timed(lambda: checkpoint_record.verified(final, fresh=True))
    digests = timed(lambda: checkpoint_record.digests_of(final, record.files, fresh=True))
    return {
        "save_s": write + commit,
        "write_s": write,
        "commit_s": commit,
        "verify_s": verify,
        "digest_s": digests,
        "plain_s": plain,
        "bytes": float(sum(entry.size for entry in record.files.values())),
        **overlap(folder, weights, moments),
    }


def overlap(
    folder: Path, weights: dict[str, torch.Tensor], moments: dict[str, Any]
) -> dict[str, float]:
    """Seconds that a save takes from training: before it goes on, and in a thread beside it."""

    def save(number: int, weights: dict[str, torch.Tensor], moments: dict[str, Any]) -> None:
        partial = checkpoints.begin(folder, number)
        write_state(partial, weights, moments)
        facts = Facts(WORK, step=number, total=9, epoch=0, taken=1)
        checkpoints.commit(partial, facts)

    def copied() -> None:
        own = {name: tensor.clone() for name, tensor in weights.items()}
        own_moments = {
            key: {name: tensor.clone() for name, tensor in part.items()}
            for key, part in moments.items()
        }
        thread = threading.Thread(target=save, args=(3, own, own_moments))
        thread.start()
        compute(steps)
        thread.join()

    each = timed(lambda: compute(3)) / 3
    inline = timed(lambda: save(2, weights, moments))
    # As many steps as surely take longer than the save beside them.
    steps = max(3, int(3 * inline / each))
    alone = timed(lambda: compute(steps))
    beside = timed(copied)
    return {"lost_inline_s": inline, "lost_beside_s": beside - alone}


def compute(steps: int) -> None:
    """A stand-in for training steps: matrix products on every core."""
    square = torch.ones(1024, 1024)
    for _ in range(steps):
        square = torch.tanh(square @ square / 1024)


def write_state(partial: Path, weights: dict[str, torch.Tensor], moments: dict[str, Any]) -> None:
    """The files of a checkpoint; the small ones are stand-ins."""
    safetensors.torch.save_file(weights, partial / checkpoint_record.WEIGHTS)
    saving.write_state(partial / checkpoint_record.OPTIMIZER, moments)
    for name in checkpoint_record.SMALL:
        (partial / name).write_text("{}")
    (partial / checkpoint_record.rng_file(0)).write_text("{}")


def write_plain(path: Path, weights: dict[str, torch.Tensor]) -> None:
    """One file, synced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        for tensor in weights.values():
            stream.write(tensor.numpy().data)
        stream.flush()
        os.fsync(stream.fileno())
    path.unlink()


def timed(work: Callable[[], object]) -> float:
    """Wall seconds of a call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def lines(figures: dict[str, Any]) -> list[str]:
    """The figures for a person."""
    word = "within" if figures["verify_share"] <= PROMISE else "OVER"
    gigabytes = figures["bytes"] / 1e9
    return [
        f"{gigabytes:.2f} GB on a disk of {figures['disk_mb_per_s']} MB/s ({figures['machine']})",
        f"save       {figures['save_s']:8.3f} s  (written {figures['write_s']:.3f}, "
        f"committed {figures['commit_s']:.3f})",
        f"digests    {figures['digest_s']:8.3f} s  (within the commit, while the disk writes)",
        f"read back  {figures['verify_s']:8.3f} s  = {figures['verify_share']:.1%} of the save, "
        f"{word} {PROMISE:.0%}",
        f"training loses {figures['lost_inline_s']:.3f} s to a save, and "
        f"{figures['lost_beside_s']:.3f} s to one beside it",
    ]


if __name__ == "__main__":
    sys.exit(main())
