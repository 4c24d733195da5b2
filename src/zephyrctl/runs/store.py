"""Where does a run keep its things, and which run is meant?"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from zephyrctl.errors import ConfigError, EnvironmentProblem, Problem, UsageError, quoted
from zephyrctl.registry import did_you_mean
from zephyrctl.runs import stage_record, trusted
from zephyrctl.runs.atomic import disk_full_is_an_error, write_json, write_text
from zephyrctl.runs.digests import digest_json
from zephyrctl.runs.metrics import Reporter

if TYPE_CHECKING:
    from zephyrctl.config.layers import Loaded
    from zephyrctl.config.schema import Recipe

StageName = Literal["data", "sft", "dpo", "eval"]
STAGES: tuple[StageName, ...] = get_args(StageName)
RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LOCK_PATIENCE_S = 0.4
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)
"""What a file system without locks says, such as Lustre mounted without `flock`."""


@dataclass(frozen=True)
class StageDir:
    """The folder of one stage; nothing is created by naming it."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def manifest_path(self) -> Path:
        return self.path / "manifest.json"

    @property
    def config_path(self) -> Path:
        """The resolved configuration of the last time that the stage was only asked for by itself,
        with other settings than the run was made with."""
        return self.path / "config.json"

    @property
    def metrics_path(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def events_path(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def samples_path(self) -> Path:
        return self.path / "samples.jsonl"

    def read_manifest(self) -> stage_record.Manifest | None:
        """The stage's manifest, or None where it never began."""
        return stage_record.read(self.manifest_path)

    def is_finished(self) -> bool:
        """Whether the stage ended well."""
        manifest = self.read_manifest()
        return manifest is not None and manifest.state == "finished"

    def newest_checkpoint(self) -> int | None:
        """The step of the newest checkpoint that was committed (by its manifest, which is written
        last); its content is not looked at."""
        manifests = ((step, self.checkpoints / f"checkpoint-{step}" / "manifest.json")
                     for step in self._checkpoint_steps())  # fmt: skip
        return max((step for step, path in manifests if path.is_file()), default=None)

    def checkpoint_bytes(self) -> int:
        """Bytes that the checkpoints take, whole or not; 0 where they are on another disk."""
        if self.checkpoints.is_symlink():
            return 0
        files = (path for path in self.checkpoints.glob("**/*") if path.is_file())
        return sum(path.stat().st_size for path in files)

    def resumable_work(self) -> str | None:
        """What stands from which the same command goes on, in words; None where nothing does."""
        steps = self._checkpoint_steps()
        if steps:
            return f"checkpoint-{max(steps)} stands"
        if self.name == "eval" and any(self.path.glob("**/answers*.jsonl")):
            return "the answers so far are kept"
        if self.name == "data" and self.chunks_kept.exists():
            return "the chunks so far are kept"
        return None

    def _checkpoint_steps(self) -> list[int]:
        """Of what has the name of a committed checkpoint, whole or not."""
        names = {
            path.name.removeprefix("checkpoint-") for path in self.checkpoints.glob("checkpoint-*")
        }
        return sorted(int(name) for name in names if name.isdecimal())

    @property
    def chunks_kept(self) -> Path:
        """A mark that stands while an unfinished preparation has its chunks in the shared cache."""
        return self.path / "chunks-kept"

    def reporter(self) -> Reporter:
        """The writer of this stage's metric stream; silent on other ranks than 0."""
        return Reporter(self.path)


@dataclass(frozen=True)
class Run:
    """One run directory."""

    root: Path

    @property
    def name(self) -> str:
        return self.root.name

    @property
    def config_path(self) -> Path:
        return self.root / "config.json"

    def stage(self, name: StageName) -> StageDir:
        """The folder of a stage."""
        return StageDir(self.root / name)

    def recipe(self, path: Path | None = None) -> Recipe:
        """The resolved configuration that the run was made with, or the one in `path`."""
        from zephyrctl.config.schema import Recipe

        path = path or self.config_path
        try:
            return Recipe.model_validate_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UsageError(f"run '{self.name}' has no configuration", where=str(path)) from None
        except ValueError as error:
            raise _unreadable(path, error) from None


def run_of(recipe: Recipe) -> Run:
    """The run `<output_root>/<name>`; nothing is created."""
    return Run(Path(recipe.output_root).expanduser() / recipe.name)


def open_run(recipe: Recipe) -> Run:
    """The run `<output_root>/<name>`, its folder created where it is missing."""
    root = run_of(recipe).root
    if not RUN_NAME.fullmatch(recipe.name):
        raise UsageError(
            f"'{recipe.name}' cannot be the name of a run",
            hint="letters, digits, '.', '_' and '-', beginning with a letter or digit",
        )
    try:
        with disk_full_is_an_error(root):
            root.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UsageError(
            "the folder of the run cannot be made: a file of that name is in the way",
            where=str(root),
            hint="--set name=OTHER, or --set output_root=FOLDER",
        ) from None
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        raise EnvironmentProblem(
            f"the run's folder cannot be made ({error.strerror})",
            where=str(root),
            hint="--set output_root=FOLDER",
        ) from None
    return Run(root)


def write_config(run: Run, loaded: Loaded) -> None:
    """Write `config.yaml` (with the origin of each value), `config.json` and the run's manifest."""
    from zephyrctl.config.explain import to_yaml

    resolved = loaded.recipe.model_dump(mode="json")
    record = _read_record(run.root / "manifest.json")
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    write_text(run.root / "config.yaml", to_yaml(loaded))
    write_json(run.config_path, resolved)
    write_json(
        run.root / "manifest.json",
        {
            "run": run.name,
            "created": record.get("created", now),
            "updated": now,
            "source": loaded.source,
            "config_digest": digest_json(resolved),
            trusted.KEY: [str(item) for item in trusted.commits()],
        },
    )


def write_stage_configs(run: Run, stages: Sequence[StageName], recipe: Recipe) -> None:
    """Write the configuration of stages that are only asked for by themselves beside the stages'
    results; that of the run stays as it is."""
    for stage in stages:
        write_json(run.stage(stage).config_path, recipe.model_dump(mode="json"))
    path = run.root / "manifest.json"
    now_trusted = [str(item) for item in trusted.commits()]
    write_json(path, _read_record(path) | {trusted.KEY: now_trusted})


@contextmanager
def lock(run: Run, *, purpose: str) -> Iterator[None]:
    """Keep the run for this process; UsageError that names the holder where another has it.

    The kernel drops the lock when the holder ends, however it ends, so a stale one cannot be.
    """
    path = run.root / ".lock"
    with disk_full_is_an_error(path), path.open("a+", encoding="utf-8") as stream:
        try:
            taken = _try_lock(stream.fileno())
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            raise _no_locks(path, error) from None
        if not taken:
            raise _locked(run, _holder(path))
        stream.truncate(0)
        json.dump(
            {
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "purpose": purpose,
                "since": datetime.now(UTC).isoformat(timespec="seconds"),
            },
            stream,
        )
        stream.flush()
        try:
            yield
        finally:
            stream.truncate(0)


def lock_holder(run: Run) -> dict[str, Any] | None:
    """Who holds the run's lock (`pid`, `host`, `purpose`, `since`), or None."""
    path = run.root / ".lock"
    if not path.exists():
        return None
    with path.open("rb") as stream:
        try:
            fcntl.flock(stream.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _holder(path)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
    return None


def at_work(run: Run) -> dict[str, Any] | None:
    """Who works on a run: the holder of its lock, else a cluster's job whose end nobody saw yet
    (`job`, `stage`, `purpose`); None where nobody does.

    Such a job goes on by itself where the command that followed it was killed.
    """
    return lock_holder(run) or next(
        (job for name in STAGES if (job := _standing_job(run.stage(name))) is not None), None
    )


def list_runs(output_root: Path) -> list[Run]:
    """The runs under `output_root`, the one touched last first."""
    if not output_root.is_dir():
        return []
    # A hidden folder is one that a killed process was still building.
    found = [path for path in output_root.iterdir() if not path.name.startswith(".")]
    runs = [Run(folder) for folder in found if is_run(folder)]
    return sorted(runs, key=lambda run: (last_touched(run), run.name), reverse=True)


def is_run(folder: Path) -> bool:
    """Whether `folder` is a run directory."""
    return (folder / "config.json").is_file() and (folder / "manifest.json").is_file()


def last_touched(run: Run) -> str:
    """When the run was last worked on, UTC; by its records, which survive a copy of the folder."""
    times = [str(_read_record(run.root / "manifest.json").get("updated", ""))]
    for name in STAGES:
        record = _read_record(run.stage(name).manifest_path)
        times.append(str(record.get("finished") or record.get("attempt_started") or ""))
    return max(times)


def find_run(ref: str, *, output_root: Path) -> Run:
    """The run meant by `@last`, `@sft`, `@dpo`, a name within `output_root`, or a path."""
    if ref.startswith("@"):
        return _by_reference(ref, output_root=output_root)
    candidates = [checked_path(ref)]
    if RUN_NAME.fullmatch(ref):
        candidates.insert(0, output_root / ref)
    for folder in candidates:
        if is_run(folder):
            return Run(folder)
        # A stage's folder, or its model, stands for its run.
        for parent in folder.parents[:2]:
            if folder.exists() and is_run(parent):
                return Run(parent)
    known = [run.name for run in list_runs(output_root)]
    raise UsageError(
        f"no run '{ref}'{did_you_mean(ref, known)}",
        where=str(output_root),
        hint="zephyrctl runs list" if known else "zephyrctl run --recipe tiny",
    )


def checked_path(text: str) -> Path:
    """A path from the command line; `..` after a name is refused, since it hides what is meant."""
    path = Path(text).expanduser()
    named = False
    for part in path.parts:
        if part == ".." and named:
            raise UsageError(f"'..' inside the path '{text}'", hint="give the path without '..'")
        named = named or part not in ("..", "/")
    return path


def _by_reference(ref: str, *, output_root: Path) -> Run:
    runs = list_runs(output_root)
    if ref == "@last" and runs:
        return runs[0]
    if ref in ("@sft", "@dpo"):
        stage: StageName = "sft" if ref == "@sft" else "dpo"
        finished = [run for run in runs if run.stage(stage).is_finished()]
        if finished:
            return finished[0]
        raise UsageError(
            f"no run with a finished {stage} stage",
            where=str(output_root),
            hint=f"zephyrctl {stage} -c FILE",
        )
    if ref == "@last":
        raise UsageError(
            "there is no run yet", where=str(output_root), hint="zephyrctl run --recipe tiny"
        )
    known = ("@last", "@sft", "@dpo")
    raise UsageError(
        f"unknown reference '{ref}'{did_you_mean(ref, known)}", hint=f"known: {', '.join(known)}"
    )


def _try_lock(descriptor: int) -> bool:
    """Take the lock; a short patience covers the moment in which `lock_holder` looks at it."""
    deadline = time.monotonic() + _LOCK_PATIENCE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        else:
            return True


def _no_locks(path: Path, error: OSError) -> EnvironmentProblem:
    return EnvironmentProblem(
        f"the disk of the run takes no locks ({error.strerror}): nothing would keep a second "
        "command from working on the same run",
        where=str(path),
        hint="--set output_root=FOLDER on another disk; or mount this one with locks (Lustre: "
        "-o flock, NFS: a running lockd)",
    )


def _locked(run: Run, holder: dict[str, Any]) -> UsageError:
    pid, host = holder.get("pid", "?"), holder.get("host", "?")
    return UsageError(
        f"run '{run.name}' is in use by process {pid} on {host} ({holder.get('purpose', '?')}"
        f" since {holder.get('since', '?')})",
        where=str(run.root),
        hint=f"zephyrctl runs watch {quoted(run.root)}, or give this one another name: "
        "--set name=OTHER",
    )


def _standing_job(stage: StageDir) -> dict[str, Any] | None:
    """The job that was submitted for a stage (`launch/slurm/record.py`), where neither its follower
    nor its own worker wrote down how it ended."""
    record = _read_record(stage.path / "slurm.json")
    if not record or record.get("ended") is not None:
        return None
    manifest = stage.read_manifest()
    if manifest is not None and manifest.state != "running":
        return None
    number = record.get("job") or "?"
    return {"job": number, "stage": stage.name, "purpose": f"Slurm job {number} ({stage.name})"}


def _holder(path: Path) -> dict[str, Any]:
    return _read_record(path)


def _read_record(path: Path) -> dict[str, Any]:
    """A JSON object that only informs: empty where it is missing or torn."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _unreadable(path: Path, error: ValueError) -> ConfigError:
    from pydantic import ValidationError

    hint = "it was written by another version of zephyrctl; give the configuration with -c FILE"
    if not isinstance(error, ValidationError):
        return ConfigError("the run's configuration cannot be read", where=str(path), hint=hint)
    problems = [
        Problem(f"{'.'.join(map(str, item['loc']))}: {item['msg']}", str(path), hint)
        for item in error.errors(include_url=False, include_input=False)
    ]
    return ConfigError.of(problems)
