"""Which job works, or worked last, on a stage? (`RUN/STAGE/slurm.json`)"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from zephyrctl.errors import DataError, quoted
from zephyrctl.launch.slurm.controller import Job, State
from zephyrctl.runs.atomic import write_json
from zephyrctl.runs.store import StageDir

NAME = "--job-name="
"""Beginning of the word of sbatch's that names a job."""
CLUSTERS = "--clusters="
"""Beginning of the one that names other clusters than its own."""


@dataclass(frozen=True)
class Record:
    """One submission."""

    mark: str
    """Stands in the job's comment: it finds a job whose number was never written down."""
    submitted: str
    """UTC."""
    command: Sequence[str]
    """sbatch's words; no secret is among them."""
    job: str | None = None
    """Number, null while sbatch was not heard of yet."""
    cluster: str | None = None
    log_starts: int = 0
    """Size of the job's log before it began."""
    ended: dict[str, Any] | None = field(default=None)
    """State and exit code at the end; null while the job is queued or at work."""

    def of_job(self) -> Job | None:
        """The job, where its number is known."""
        if not self.job:
            return None
        return Job(self.job, self.cluster, name=self._word(NAME), mark=self.mark)

    @property
    def clusters(self) -> str | None:
        """The clusters that sbatch chose from, with commas; None for its own."""
        return self._word(CLUSTERS)

    def _word(self, beginning: str) -> str | None:
        words = (
            word.removeprefix(beginning) for word in self.command if word.startswith(beginning)
        )
        return next(words, None)


def begin(stage: StageDir, *, mark: str, command: Sequence[str], log_starts: int) -> Record:
    """Record that a job is about to be submitted."""
    record = Record(mark, _now(), list(command), log_starts=log_starts)
    return _write(stage, record)


def with_job(stage: StageDir, record: Record, job: Job) -> Record:
    """Record the number of the submitted job."""
    return _write(stage, replace(record, job=job.number, cluster=job.cluster))


def end(stage: StageDir, record: Record, state: State | None) -> Record:
    """Record that the job ended; None where the cluster knows nothing of it any more."""
    name = "unknown" if state is None else state.name
    code = None if state is None else state.exit_code
    return _write(stage, replace(record, ended={"state": name, "exit_code": code, "at": _now()}))


def read(stage: StageDir) -> Record | None:
    """The last submission of a stage, or None; DataError where the file cannot be read."""
    path = path_of(stage)
    try:
        return Record(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise DataError(
            f"the record of the stage's job cannot be read: {error}",
            where=str(path),
            hint=f"squeue --me; then rm {quoted(path)}",
        ) from None


def path_of(stage: StageDir) -> Path:
    """Where the record is kept."""
    return stage.path / "slurm.json"


def _write(stage: StageDir, record: Record) -> Record:
    write_json(path_of(stage), asdict(record))
    return record


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
