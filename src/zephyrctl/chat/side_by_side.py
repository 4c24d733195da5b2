"""How is one prompt answered by several models, without a conversation?"""

from __future__ import annotations

from typing import Any

from zephyrctl.chat import oneshot
from zephyrctl.chat.replying import Render
from zephyrctl.chat.seats import Bench
from zephyrctl.generation.sampling import Sampling

_SHARED = ("messages", "seed", "sampling")


def as_record(
    bench: Bench, prompt: str, *, system: str | None, sampling: Sampling
) -> dict[str, Any]:
    """What `zephyrctl chat --prompt … --compare … --json` prints: what all were asked, and under
    `replies` what `oneshot.as_record` tells of each, in the order they were named."""
    records = []
    for seat in bench.seats:
        talker = bench.load(seat, label=seat.name)
        record = oneshot.as_record(talker, prompt, system=system, sampling=sampling)
        records.append({**record, "model": seat.name})
    bench.tell()
    return {
        **{name: records[0][name] for name in _SHARED},
        "one_by_one": bench.one_by_one,
        "replies": [
            {name: value for name, value in record.items() if name not in _SHARED}
            for record in records
        ],
    }


def to_stdout(
    bench: Bench,
    prompt: str,
    *,
    system: str | None,
    sampling: Sampling,
    render: Render = "auto",
) -> None:
    """Write each answer to stdout under its model's name; no further one where the reader left."""
    with oneshot.reader_left() as has_left:
        for seat in bench.seats:
            if has_left():
                return
            talker = bench.load(seat, label=seat.name)
            bench.tell()
            oneshot.to_stdout(
                talker, prompt, system=system, sampling=sampling, render=render, label=seat.name
            )
        bench.tell()
