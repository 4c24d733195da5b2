"""Which process answers which questions, and how do their answers come together?

Every process of a stage answers a share of the conversations and keeps its rows in a file of its
own, `answers.rank1.jsonl` beside `answers.jsonl`. They never wait for each other: the first process
reads the others' files until nothing is missing, and joins them into one.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from zephyrctl.runs import faults
from zephyrctl.runs.atomic import append_jsonl, dumps, read_jsonl, write_text
from zephyrctl.runs.metrics import read_stream

Key = TypeVar("Key", bound=Hashable)
Row = dict[str, Any]


@dataclass(frozen=True)
class Share:
    """One process among those that answer together."""

    rank: int = 0
    processes: int = 1

    @classmethod
    def of_process(cls) -> Share:
        """This process's share, as torchrun's environment gives it; all of it outside of it."""
        return cls(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    @property
    def is_whole(self) -> bool:
        return self.processes == 1

    def of(self, costs: Mapping[Key, float]) -> set[Key]:
        """What of `costs` is this process's: the dearest go first, each to whoever has least.

        Every process comes to the same result, whatever was answered already.
        """
        loads = [0.0] * self.processes
        mine: set[Key] = set()
        for key in sorted(costs, key=lambda key: (-costs[key], str(key))):
            rank = loads.index(min(loads))
            loads[rank] += costs[key]
            if rank == self.rank:
                mine.add(key)
        return mine


ALONE = Share()
"""A process that answers everything."""


def take_own_gpu(env: MutableMapping[str, str]) -> None:
    """Leave only this process's GPU visible, where several processes have one each.

    To be called before anything opens CUDA; after it every library's first GPU is the right one.
    """
    visible = [name for name in env.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    place = int(env.get("LOCAL_RANK", "0"))
    if int(env.get("WORLD_SIZE", "1")) > 1 and place < len(visible):
        env["CUDA_VISIBLE_DEVICES"] = visible[place]


class AnswerFiles:
    """The rows of one model's answers by their keys, in one file or several."""

    def __init__(self, path: Path, share: Share) -> None:
        self.path = path
        self.rows: dict[str, Row] = {}
        self._own = path if share.is_whole else self._of_rank(share.rank)
        self._read: dict[Path, int] = {}
        for file in [*self._others(), path]:  # a damaged line is an error, a torn last one is not
            self.rows |= {row["key"]: row for row in read_jsonl(file)}

    def refresh(self) -> None:
        """Read what was written since the last time.

        The joined file comes last: whoever finds that another process's file is gone finds its
        rows there.
        """
        for path in [*self._others(), self.path]:
            records, self._read[path] = read_stream(path, offset=self._read.get(path, 0))
            for row in records:
                self.rows.setdefault(row["key"], row)

    def add(self, row: Row) -> None:
        """Keep a row, on the disk before anything else."""
        append_jsonl(self._own, row)
        self.rows[row["key"]] = row
        faults.meet("answer", len(self.rows))

    def join(self, *, identity: str) -> None:
        """Put all rows into one file, each once, and drop those of another state of the model.

        For the first process, once no other one writes here any more.
        """
        others = self._others()
        whole = [row for path in [self.path, *others] for row in read_jsonl(path)]
        kept = {row["key"]: row for row in reversed(whole) if row["identity"] == identity}
        if others or len(kept) < len(whole):
            write_text(self.path, "".join(f"{dumps(kept[key])}\n" for key in reversed(kept)))
        for path in others:
            path.unlink()

    def _of_rank(self, rank: int) -> Path:
        return self.path.with_suffix(f".rank{rank}{self.path.suffix}")

    def _others(self) -> list[Path]:
        return sorted(self.path.parent.glob(f"{self.path.stem}.rank*{self.path.suffix}"))
