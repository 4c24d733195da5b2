"""What becomes of every chunk of the sources, each by itself, in one process or several?

A chunk's rows and its tokens are two shards of the cache, each made only where it is not kept
already. So a change of a filter leaves the tokens of unchanged texts alone, a change of the
template leaves the filtered rows alone, and a run that was killed goes on where it stopped.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from zephyrctl.config.schema.data import Source
from zephyrctl.data.pipeline import rows
from zephyrctl.data.pipeline.clock import Clock
from zephyrctl.data.pipeline.cutting import Cut, cut_dialogues, cut_pairs
from zephyrctl.data.pipeline.encoding import EncodeStep
from zephyrctl.data.pipeline.rows import Removed, RowStep, Survivors
from zephyrctl.data.pipeline.shards import Shards
from zephyrctl.data.pipeline.work import Work
from zephyrctl.data.sources import Chunk, first_problem
from zephyrctl.data.sources import rows as rows_of
from zephyrctl.data.without_torch import do_without_torch
from zephyrctl.errors import JobFailed
from zephyrctl.runs import signals
from zephyrctl.runs.digests import digest_json, digest_text
from zephyrctl.runs.processes import die_with_parent


@dataclass(frozen=True, slots=True)
class Task:
    """A chunk with the source that it comes from and the converter that reads it."""

    chunk: Chunk
    source: Source
    converter: str
    feed: int = 0
    """The number of the source, for whoever made the task."""


@dataclass
class Mapped:
    """What became of one chunk.

    `removed` lists the rows that go no further, by their position in the chunk. The columns `row`,
    `keys` (S, 16) uint8, `wholes` (S, 16) uint8 or None and `signatures` (S, 128) uint32 or None
    are those of the S rows that stay; `places` are their positions in the shards.
    """

    rows_shard: str
    tokens_shard: str
    removed: list[Removed]
    unread: list[int]
    row: Any
    places: Any
    keys: Any
    wholes: Any
    signatures: Any
    reused: tuple[bool, bool]
    seconds: dict[str, float] = field(default_factory=dict)
    """CPU time by part of the work."""


class Mapper:
    """Works on chunks; holds the tokenizer, the filters and the index of judged prompts."""

    def __init__(self, work: Work, shards: Path) -> None:
        self._work = work
        self._shards = Shards(shards)
        self._rows_digest = work.rows_digest()
        self._tokens_digest = work.tokens_digest()
        self._row_step: RowStep | None = None
        self._encode_step: EncodeStep | None = None

    def run(self, task: Task) -> Mapped:
        """What becomes of one chunk; DataError for a bad line that its source does not allow."""
        clock = Clock()
        name = digest_json([self._rows_digest, task.converter, task.chunk.digest()])
        table = self._shards.read(name)
        reused_rows = table is not None
        survivors = None
        clock.lap("cache")
        if table is None:
            survivors = self._make_rows(task, clock)
            table = rows.to_table(survivors)
            self._shards.write(name, table)
            clock.lap("cache")
        tokens_name, tokens, reused_tokens = self._tokens(table, survivors, clock)
        mapped = self._mapped(table, tokens, name, tokens_name)
        mapped.reused = (reused_rows, reused_tokens)
        clock.lap("cut")
        mapped.seconds = dict(clock.seconds)
        return mapped

    def _make_rows(self, task: Task, clock: Clock) -> Survivors:
        raw = rows_of(task.chunk)
        problem = first_problem(raw, task.source)
        if problem is not None:
            raise problem
        clock.lap("read")
        if self._row_step is None:
            self._row_step = RowStep(self._work)
            clock.lap("start")
        return self._row_step.run(raw, converter=task.converter, clock=clock)

    def _tokens(
        self, table: Any, survivors: Survivors | None, clock: Clock
    ) -> tuple[str, Any, bool]:
        """The tokens of a chunk's rows under the name that follows from their texts."""
        bodies = table["body"].to_pylist()
        # No body holds the character that joins them: JSON writes it as an escape.
        name = digest_text("\0".join([self._tokens_digest, *bodies]))
        tokens = self._shards.read(name)
        clock.lap("cache")
        if tokens is not None:
            return name, tokens, True
        if self._encode_step is None:
            self._encode_step = EncodeStep(self._work.tokenizing, stage=self._work.stage)
            _collect_seldom()
            clock.lap("start")
        records = (
            survivors.records
            if survivors is not None
            else [rows.record_of(body) for body in bodies]
        )
        tokens = self._encode_step.run(records)
        clock.lap("tokenize")
        self._shards.write(name, tokens)
        clock.lap("cache")
        return name, tokens, False

    def _mapped(self, table: Any, tokens: Any, rows_name: str, tokens_name: str) -> Mapped:
        import numpy as np

        cut = cut_rows(tokens, self._work)
        removed = rows.removed_of(table)
        positions = table["row"].to_pylist()
        for place, reason in enumerate(cut.reasons):
            if reason is not None:
                body = table["body"][place].as_py()
                record = rows.record_of(body)
                removed.append(Removed(positions[place], reason, rows.excerpt(record)))
        removed.sort(key=lambda item: item.row)
        stays = [place for place, reason in enumerate(cut.reasons) if reason is None]
        places = np.array(stays, dtype=np.int32)
        kept = table.take(places)
        dedup = self._work.dedup
        return Mapped(
            rows_shard=rows_name,
            tokens_shard=tokens_name,
            removed=removed,
            unread=rows.unread_of(table),
            row=kept["row"].to_numpy(),
            places=places,
            keys=_fixed(kept["key"], 16),
            wholes=_fixed(kept["whole"], 16) if dedup else None,
            signatures=(
                _fixed(kept["signature"], 512).view("<u4") if dedup and dedup.near else None
            ),
            reused=(False, False),
        )


def _collect_seldom() -> None:
    """Leave what is loaded by now out of garbage collection, and collect the rest seldom.

    Rows make many objects and no cycles: looking for cycles took half of the time of tokenizing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 50, 1000)


def cut_rows(tokens: Any, work: Work) -> Cut:
    """The rows of a token shard within the limits of the recipe."""
    cut = cut_dialogues if work.stage == "sft" else cut_pairs
    return cut(tokens, limits=work.limits, length=work.length)


def _fixed(column: Any, width: int) -> Any:
    """A column of fixed-size binary values as an array (rows, width) of uint8."""
    import numpy as np

    return np.frombuffer(b"".join(column.to_pylist()), dtype=np.uint8).reshape(-1, width)


def mapped(
    tasks: Iterable[Task], *, work: Work, shards: Path, processes: int
) -> Iterator[tuple[Task, Mapped]]:
    """What becomes of every chunk, in order, from one process or several; stops at a signal."""
    if processes == 1:
        mapper = Mapper(work, shards)
        for task in tasks:
            signals.raise_if_stopping()
            yield task, mapper.run(task)
        return
    yield from _in_processes(iter(tasks), work=work, shards=shards, processes=processes)


def _in_processes(
    tasks: Iterator[Task], *, work: Work, shards: Path, processes: int
) -> Iterator[tuple[Task, Mapped]]:
    # Not forked: the tokenizer's threads would not survive it.
    pool = ProcessPoolExecutor(
        processes,
        mp_context=get_context("spawn"),
        initializer=_start,
        initargs=(work, shards, os.getpid()),
    )
    waiting: list[tuple[Task, Future[Mapped]]] = []
    try:
        for task in islice(tasks, 2 * processes):
            waiting.append((task, pool.submit(_run, task)))
        while waiting:
            signals.raise_if_stopping()
            task, future = waiting.pop(0)
            yield task, future.result()
            for following in islice(tasks, 1):
                waiting.append((following, pool.submit(_run, following)))
    except BrokenProcessPool as error:
        signals.raise_if_stopping()  # whoever asked may have ended the processes too
        raise JobFailed(
            "a process of data preparation died, most often for lack of memory",
            hint="--set data.processes=1",
        ) from error
    finally:
        # The shards that are being written do not count before they are renamed, so a stop need
        # not wait for them: the kernel ends the processes with this one.
        pool.shutdown(wait=signals.stop_signal() is None, cancel_futures=True)


_mapper: list[Mapper] = []


def _start(work: Work, shards: Path, parent: int) -> None:
    """Make this process's mapper; each process is one thread, they share the cores."""
    die_with_parent()
    signals.leave_to_parent()
    if os.getppid() != parent:
        os._exit(1)  # it died before it could be watched
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    do_without_torch()
    _mapper.append(Mapper(work, shards))


def _run(task: Task) -> Mapped:
    return _mapper[0].run(task)
