"""How does a stage say what it is doing?

Rank 0 appends records to `metrics.jsonl` (numbers, progress, notices) and `events.jsonl` (what
happened); whoever wants to show something reads these files. A stage never draws.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from zephyrctl.runs import heartbeat
from zephyrctl.runs.atomic import append_jsonl, parse_line

PROGRESS_INTERVAL_S = 0.2
"""Progress records of one task come at most this often; the last one always comes."""


class Reporter:
    """Writes the metric stream of one stage; on other ranks than 0 it writes nothing."""

    def __init__(
        self,
        folder: Path,
        *,
        rank: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.folder = folder
        self.enabled = (rank_of_process() if rank is None else rank) == 0
        self._clock = clock
        self._last_progress: dict[str, float] = {}
        self._steps: dict[str, float] = {}

    def metrics(
        self, *, step: int, total: int, values: Mapping[str, float], split: str = "train"
    ) -> None:
        """Numbers at one optimizer step out of `total`."""
        self._write(
            {
                "kind": "metrics",
                "split": split,
                "step": step,
                "total": total,
                "values": dict(values),
            }
        )

    def progress(self, task: str, *, done: int, total: int | None, unit: str = "rows") -> None:
        """How far a task is, which is a sign of life too; `total` is None where it is not known."""
        heartbeat.beat(unit)
        now = self._clock()
        is_last = total is not None and done >= total
        # A clock that was set back must not silence the task until it is that late again.
        if not is_last and 0 <= now - self._last_progress.get(task, 0.0) < PROGRESS_INTERVAL_S:
            return
        self._last_progress[task] = now
        self._write({"kind": "progress", "task": task, "done": done, "total": total, "unit": unit})

    def notice(self, text: str, *, level: Literal["info", "warning"] = "info") -> None:
        """A sentence for the user; it is also kept in the manifest."""
        self._write({"kind": "notice", "level": level, "text": text})

    def event(self, name: str, **fields: Any) -> None:
        """Something that happened: started, resumed, checkpoint, sample, finished, failed."""
        if self.enabled:
            record = {"t": self._clock(), "kind": "event", "event": name, **fields}
            append_jsonl(self.folder / "events.jsonl", record)

    def _write(self, record: dict[str, Any]) -> None:
        if self.enabled:
            append_jsonl(self.folder / "metrics.jsonl", {"t": self._clock(), **record})


def rank_of_process() -> int:
    """This process's rank as torchrun's environment gives it; 0 outside of it."""
    return int(os.environ.get("RANK", "0"))


def read_stream(path: Path, *, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """The whole records after byte `offset`, and the offset to read from next time.

    A line that is still being written waits for the next call. A file that became shorter than
    `offset` (a stage that started afresh) is read from its beginning.
    """
    if not path.exists():
        return [], 0
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        start = offset if offset <= size else 0
        stream.seek(start)
        content = stream.read()
    end = content.rfind(b"\n") + 1
    parsed = (parse_line(line) for line in content[:end].split(b"\n") if line)
    return [record for record in parsed if record is not None], start + end


def notices(path: Path) -> list[str]:
    """The distinct notices of a metric stream, in order."""
    records, _ = read_stream(path)
    return list(dict.fromkeys(r["text"] for r in records if r["kind"] == "notice"))
