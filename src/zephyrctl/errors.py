"""Every error a user can meet, with its exit code.

ZephyrctlError            1    the job failed
  JobFailed               1
    NeighbourLost         1    another process or machine is gone
  UsageError              2    command line
  ConfigError             2    one or many problems in the configuration
  DataError               2    a row, a file, or inputs that changed
    InputsChanged         2    unfinished work was begun with other inputs
  EnvironmentProblem      3    hardware, a missing extra, memory
    OutOfMemory           3    a forward pass does not fit; a smaller one may
  CredentialsError        4
  NetworkError            5    Hub, package index or judge endpoint out of reach
  TrainingDiverged        6    non-finite loss or gradient
  GateMissed              7    a score under its gate, or too little coverage
  DiskFull               73
  StoppedEarly           75    a resumable checkpoint stands
  NoCheckpoint           77    checkpoints exist, none is valid
  JobHung                78
  Interrupted           130    Ctrl-C
  Terminated            143    terminated before anything could be saved

Raised where the fact is known, printed in one place (`cli/app.py`). Each survives JSON, because
a worker process hands its error to the parent through a file.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: a sentence, a place, a next step."""

    message: str
    where: str | None = None
    hint: str | None = None


class ZephyrctlError(Exception):
    """Base of all errors shown without a traceback."""

    kind: ClassVar[str] = "internal"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.problems: tuple[Problem, ...] = (Problem(message, where, hint),)

    @property
    def message(self) -> str:
        return self.problems[0].message

    @property
    def where(self) -> str | None:
        return self.problems[0].where

    @property
    def hint(self) -> str | None:
        return self.problems[0].hint

    def __reduce__(self) -> tuple[Any, ...]:
        return (from_json, (self.to_json(),))

    def to_json(self) -> dict[str, Any]:
        """The object printed under `--json`; `problems` only where there is more than one."""
        first = self.problems[0]
        record: dict[str, Any] = {
            "code": self.exit_code,
            "kind": self.kind,
            "message": first.message,
            "hint": first.hint,
            "where": first.where,
        }
        if len(self.problems) > 1:
            record["problems"] = [vars(problem) for problem in self.problems]
        return record


class JobFailed(ZephyrctlError):
    """A stage ended with a failure of its own."""

    kind = "job"


class NeighbourLost(JobFailed):
    """The processes or machines that this one works with are gone; the cause is theirs."""

    kind = "neighbour"


class UsageError(ZephyrctlError):
    """The command line asks for something that is not there."""

    kind = "usage"
    exit_code = 2


class ConfigError(ZephyrctlError):
    """One or many problems in the configuration, all reported at once."""

    kind = "config"
    exit_code = 2

    @classmethod
    def of(cls, problems: list[Problem]) -> ConfigError:
        """An error that carries every problem; `problems` must not be empty."""
        error = cls(problems[0].message, where=problems[0].where, hint=problems[0].hint)
        error.problems = tuple(problems)
        return error


class DataError(ZephyrctlError):
    """A row or file cannot be used, or an input changed since it was recorded."""

    kind = "data"
    exit_code = 2


class InputsChanged(DataError):
    """Unfinished work was begun with other inputs."""

    kind = "changed"
    changes: tuple[dict[str, Any], ...] = ()
    """Field, value then, value now, and why it is fixed (or null), of each."""

    def to_json(self) -> dict[str, Any]:
        """The object printed under `--json`, with every change."""
        return {**super().to_json(), "changes": list(self.changes)}


class EnvironmentProblem(ZephyrctlError):
    """This machine lacks something the job needs."""

    kind = "environment"
    exit_code = 3


class OutOfMemory(EnvironmentProblem):
    """The accelerator's memory is too small for a forward pass of this size."""

    kind = "memory"


class CredentialsError(ZephyrctlError):
    """A key or token is missing or refused."""

    kind = "auth"
    exit_code = 4


class NetworkError(ZephyrctlError):
    """Something outside this machine could not be reached."""

    kind = "network"
    exit_code = 5


class TrainingDiverged(ZephyrctlError):
    """Loss or gradient norm is not finite."""

    kind = "diverged"
    exit_code = 6


class GateMissed(ZephyrctlError):
    """A score is under its gate, or too few verdicts were parsed to print one."""

    kind = "gate"
    exit_code = 7


class DiskFull(ZephyrctlError):
    """No space left for what must be written."""

    kind = "disk"
    exit_code = 73


class StoppedEarly(ZephyrctlError):
    """Stopped on request with a checkpoint from which the same command goes on."""

    kind = "stopped"
    exit_code = 75


class NoCheckpoint(ZephyrctlError):
    """Checkpoints exist and none of them is valid."""

    kind = "checkpoint"
    exit_code = 77


class JobHung(ZephyrctlError):
    """A worker gave no sign of life for longer than the limit."""

    kind = "hang"
    exit_code = 78


class Interrupted(ZephyrctlError):
    """Ctrl-C."""

    kind = "interrupted"
    exit_code = 130


class Terminated(ZephyrctlError):
    """Terminated before anything could be saved."""

    kind = "terminated"
    exit_code = 143


def _tree(root: type[ZephyrctlError]) -> list[type[ZephyrctlError]]:
    return [root, *(leaf for child in root.__subclasses__() for leaf in _tree(child))]


def from_json(record: dict[str, Any]) -> ZephyrctlError:
    """The error that `to_json` wrote, with its class found again by `kind`."""
    classes = {cls.kind: cls for cls in _tree(ZephyrctlError)}
    cls = classes.get(record.get("kind", ""), ZephyrctlError)
    error = cls(record["message"], where=record.get("where"), hint=record.get("hint"))
    if "problems" in record:
        error.problems = tuple(Problem(**problem) for problem in record["problems"])
    if isinstance(error, InputsChanged):
        error.changes = tuple(record.get("changes", ()))
    return error


def quoted(path: Path | str) -> str:
    """A path as one word of a command that a hint shows: what is pasted must reach it."""
    return shlex.quote(str(path))
