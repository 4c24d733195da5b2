"""Which tensors does a checkpoint hold, and what do they take in memory in few bits?

Read from the headers of safetensors files.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path

from zephyrctl.errors import DataError

Shape = tuple[int, ...]

QUANTIZED_BYTES = {"4bit": 0.5 + 4 / 64, "8bit": 1.0}
"""Bytes of one weight loaded in few bits: NF4, half a byte and a float32 scale for each block of
64, and LLM.int8. (With the scales quantized too, which is not asked for, NF4 would have 0.516.)"""


def count_weights(folder: Path) -> int | None:
    """Weights in a folder's safetensors files; None without any."""
    sizes = [math.prod(shape) for _, shape in shapes(folder)]
    return sum(sizes) if sizes else None


def shapes(folder: Path) -> Iterator[tuple[str, Shape]]:
    """Name and shape of every tensor; DataError for a damaged file."""
    for path in sorted(folder.glob("model*.safetensors")):
        yield from _header(path)


def _header(path: Path) -> list[tuple[str, Shape]]:
    """What one safetensors header lists (8 bytes length, then JSON)."""
    try:
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(length))
        return [
            (key, tuple(item["shape"])) for key, item in header.items() if key != "__metadata__"
        ]
    except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
        raise DataError(
            f"a file of weights is damaged: {error}",
            where=str(path),
            hint="copy or download the model again",
        ) from error
