"""Which judgments stand already, and which have to be asked for?

Each judgment is one JSON line, written as it comes. Its `key` covers everything that decides the
reply: the judge, the whole request, and the number of the repeat; its `place` says what it is the
judgment of. A rerun asks only for what is missing; a changed answer is another key. What present
settings do not want is not thrown away, it was paid for: `keep_only` moves it to `earlier.jsonl`
beside the file, and it comes back when it is wanted again.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from zephyrctl.evaluation.benchmark import Judgment
from zephyrctl.evaluation.judges.contract import Judge, JudgeReply, JudgeRequest
from zephyrctl.evaluation.spending import Meter, Paid
from zephyrctl.runs import faults
from zephyrctl.runs.atomic import append_jsonl, dumps, read_jsonl, sync_folder, write_text
from zephyrctl.runs.digests import digest_json

Slot = tuple[str, str]
"""Key and place of one judgment."""

_SYNC_S = 1.0
"""Seconds between two waits for the disk. A kill loses no line that was written; only a power cut
can, and then those of the last moments."""


def key_of(judge: Judge, request: JudgeRequest) -> str:
    """What a reply is kept under; a deterministic judge is asked once for all repeats."""
    sample = 0 if judge.is_deterministic else request.sample
    return digest_json([dict(judge.identity), request.to_json(), sample])


def slot_of(judge: Judge, request: JudgeRequest) -> Slot:
    """What a judgment is found by.

    Two requests may be equal and mean different things, as the two orders of a pair of equal
    answers: one reply, two judgments.
    """
    return key_of(judge, request), digest_json(_place(request))


def kept_rows(path: Path) -> dict[Slot, Judgment]:
    """Every judgment that stands in `path` or was set aside beside it."""
    rows = [*read_jsonl(_earlier(path)), *read_jsonl(path)]
    return {_slot_of_row(row): row for row in rows}


def judged(
    judge: Judge,
    requests: Sequence[JudgeRequest],
    *,
    path: Path,
    make_row: Callable[[int, JudgeReply], Judgment],
    on_done: Callable[[int, int], None],
) -> list[Judgment]:
    """One judgment per request, in their order; equal requests are asked once.

    `make_row(index, reply)` gives the record of a reply to `requests[index]`, to which key, place
    and tokens are added. `on_done(done, total)` counts judgments. StoppedEarly where the judge's
    limit of cost is reached; what was answered until then stands.
    """
    slots = [slot_of(judge, request) for request in requests]
    kept = kept_rows(path)
    missing: dict[str, dict[Slot, int]] = {}
    for index, slot in enumerate(slots):
        if slot not in kept:
            missing.setdefault(slot[0], {})[slot] = index
    total = len(set(slots))
    done = total - sum(map(len, missing.values()))
    on_done(done, total)
    journal = _Journal(path)

    def keep(places: Mapping[Slot, int], reply: JudgeReply) -> None:
        nonlocal done
        for slot, index in places.items():
            row = {
                **make_row(index, reply),
                "prompt_tokens": reply.prompt_tokens,
                "completion_tokens": reply.completion_tokens,
                "key": slot[0],
                "place": _place(requests[index]),
            }
            journal.append(row)
            kept[slot] = row
            done += 1
            faults.meet("judgment", done)
        on_done(done, total)

    try:
        _ask(judge, requests, list(missing.values()), keep=keep, stands=lambda: done)
    finally:
        journal.close()
    return [kept[slot] for slot in slots]


def keep_only(path: Path, judgments: Sequence[Judgment]) -> None:
    """Leave `judgments` in `path`, and set its others aside (see above).

    A row is written to its new file before it leaves the old one: a kill in between leaves it in
    both, never in none. A file whose rows have no keys (verdicts of code) is left as it is.
    """
    if any("key" not in row for row in judgments):
        return
    wanted = dict.fromkeys(_slot_of_row(row) for row in judgments)
    standing = [_slot_of_row(row) for row in read_jsonl(path)]
    before = {_slot_of_row(row) for row in read_jsonl(_earlier(path))}
    kept = kept_rows(path)
    aside = {slot: kept[slot] for slot in kept if slot not in wanted}
    if not before.issuperset(aside):
        both = [row for slot, row in kept.items() if slot in before or slot in aside]
        _write_rows(_earlier(path), both)
    if len(standing) != len(wanted) or set(standing) != set(wanted):
        _write_rows(path, [kept[slot] for slot in wanted])
    if before.intersection(wanted):
        _write_rows(_earlier(path), list(aside.values()))


def _ask(
    judge: Judge,
    requests: Sequence[JudgeRequest],
    missing: Sequence[Mapping[Slot, int]],
    *,
    keep: Callable[[Mapping[Slot, int], JudgeReply], None],
    stands: Callable[[], int],
) -> None:
    """Ask for what is missing, each item being the places that one reply is for.

    Under a limit of cost it goes in rounds of as many requests as can all be paid at their worst.
    No request is then cut off half-way: it would be paid for, and its reply lost.
    """
    meter = judge.meter if isinstance(judge, Paid) else None
    left = [(next(iter(places.values())), places) for places in missing]
    while left:
        batch = left[: _affordable(meter, [requests[index] for index, _ in left])]
        if not batch:
            assert meter is not None
            raise meter.stopped([requests[index] for index, _ in left], stands=stands())
        judge.decide(
            [requests[index] for index, _ in batch],
            on_reply=lambda number, reply, batch=batch: keep(batch[number][1], reply),
        )
        left = left[len(batch) :]


def _affordable(meter: Meter | None, requests: Sequence[JudgeRequest]) -> int:
    return len(requests) if meter is None else meter.affordable(requests)


class _Journal:
    """The file being written.

    A thread of its own waits for the disk: a sync may take 0.2 s, in which no reply would be read
    and every slot of the service stand empty.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._due = 0.0
        self._thread: threading.Thread | None = None

    def append(self, row: Judgment) -> None:
        """Write one row; it is on the disk some time later, at the latest after `close`."""
        append_jsonl(self._path, row)
        if time.monotonic() >= self._due and not (self._thread and self._thread.is_alive()):
            self._due = time.monotonic() + _SYNC_S
            self._thread = threading.Thread(target=self._sync, daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Wait until everything is on the disk."""
        if self._thread is None:
            return
        self._thread.join()
        self._sync()
        sync_folder(self._path.parent)

    def _sync(self) -> None:
        with self._path.open("rb") as stream:
            os.fsync(stream.fileno())


def _write_rows(path: Path, rows: Sequence[Judgment]) -> None:
    """Replace the file; one without rows vanishes."""
    if not rows:
        path.unlink(missing_ok=True)
        return
    write_text(path, "".join(f"{dumps(row)}\n" for row in rows))


def _earlier(path: Path) -> Path:
    """Where judgments lie that present settings do not want."""
    return path.with_name("earlier.jsonl")


def _place(request: JudgeRequest) -> list[Any]:
    """What a judgment is the judgment of."""
    return [
        request.question_id,
        request.turn,
        request.prompt_name,
        list(request.models),
        request.order,
        request.sample,
    ]


def _slot_of_row(row: Judgment) -> Slot:
    return row["key"], digest_json(row.get("place"))
