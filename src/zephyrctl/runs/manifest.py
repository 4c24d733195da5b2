"""What is written into a stage's manifest when it begins, goes on and ends?"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import zephyrctl
from zephyrctl import environment
from zephyrctl.errors import Interrupted, StoppedEarly, Terminated, ZephyrctlError
from zephyrctl.runs.atomic import write_json
from zephyrctl.runs.digests import digest_json, digest_path, digest_tree
from zephyrctl.runs.metrics import notices, read_stream
from zephyrctl.runs.stage_record import AllowedChange, Manifest
from zephyrctl.runs.store import StageDir
from zephyrctl.terminal import finite


@dataclass(frozen=True)
class Result:
    """What a stage function returns: final metrics, the files or folders it made, remarks."""

    metrics: dict[str, Any]
    outputs: list[Path]
    notices: list[str] = field(default_factory=list)


def begin(
    stage_dir: StageDir, *, inputs: Mapping[str, Any], seed: int, world_size: int
) -> Manifest:
    """Record that an attempt starts; unfinished work on the same inputs counts as resumed."""
    now = _now()
    flat = finite(dict(inputs))
    digest = digest_json(flat)
    before = stage_dir.read_manifest()
    goes_on = before is not None and before.state != "finished" and before.digest == digest
    manifest = Manifest(
        stage=stage_dir.name,
        state="running",
        started=before.started if before and goes_on else now,
        attempt_started=now,
        seconds=_spent(stage_dir, before) if before and goes_on else 0.0,
        attempts=before.attempts + 1 if before and goes_on else 1,
        inputs=flat,
        digest=digest,
        allowed_changes=before.allowed_changes if before and goes_on else [],
        hashes_verified=before.hashes_verified if before and goes_on else True,
        seed=seed,
        world_size=world_size,
        versions=environment.package_versions(),
        hardware=environment.hardware(),
        code=code_version(),
    )
    _write(stage_dir, manifest)
    stage_dir.reporter().event("resumed" if goes_on else "started", attempt=manifest.attempts)
    return manifest


def go_on(
    stage_dir: StageDir,
    *,
    inputs: Mapping[str, Any],
    changes: Sequence[AllowedChange],
    verify_hashes: bool,
) -> None:
    """Record on which terms the next attempt at unfinished work goes on, before it starts."""
    manifest = _begun(stage_dir)
    flat = finite(dict(inputs))
    _write(
        stage_dir,
        manifest.model_copy(
            update={
                "inputs": flat,
                "digest": digest_json(flat),
                "allowed_changes": [*manifest.allowed_changes, *changes],
                "hashes_verified": verify_hashes,
            }
        ),
    )


def finish(stage_dir: StageDir, result: Result) -> Manifest:
    """Record that the stage ended well, with digests of what it made."""
    manifest = _begun(stage_dir)
    said = notices(stage_dir.metrics_path)
    done = manifest.model_copy(
        update={
            "state": "finished",
            "finished": _now(),
            "seconds": _seconds_until_now(manifest),
            "outputs": {
                path.relative_to(stage_dir.path).as_posix(): digest_path(path)
                for path in result.outputs
            },
            "metrics": finite(result.metrics),
            "notices": list(dict.fromkeys([*said, *result.notices])),
            "error": None,
        }
    )
    _write(stage_dir, done)
    stage_dir.reporter().event("finished", seconds=done.seconds)
    return done


def fail(stage_dir: StageDir, error: ZephyrctlError) -> Manifest:
    """Record how the attempt ended; a stop on request is `stopped`, anything else `failed`.

    A later call corrects an earlier one: rank 0 may only know that a neighbour is gone.
    """
    manifest = _begun(stage_dir)
    on_request = isinstance(error, StoppedEarly | Interrupted | Terminated)
    ended = manifest.model_copy(
        update={
            "state": "stopped" if on_request else "failed",
            "finished": _now(),
            "seconds": _seconds_until_now(manifest),
            "notices": notices(stage_dir.metrics_path),
            "error": error.to_json(),
        }
    )
    _write(stage_dir, ended)
    if manifest.state == "running":
        stage_dir.reporter().event(ended.state, error=error.to_json())
    return ended


def code_version() -> dict[str, str | None]:
    """Version, source digest and git commit of the code that runs."""
    package = Path(zephyrctl.__file__).parent
    return {
        "zephyrctl": zephyrctl.__version__,
        "source": digest_tree(package, ignore=("*.pyc",)),
        "commit": _git_commit(package.parent.parent),
    }


def _git_commit(clone: Path) -> str | None:
    """The checked-out commit, read from the files of `.git` without running git."""
    head = clone / ".git" / "HEAD"
    if not head.is_file():
        return None
    text = head.read_text(encoding="ascii", errors="replace").strip()
    if not text.startswith("ref: "):
        return text
    name = text.removeprefix("ref: ")
    reference = clone / ".git" / name
    if reference.is_file():
        return reference.read_text(encoding="ascii", errors="replace").strip()
    packed = clone / ".git" / "packed-refs"
    lines = packed.read_text(encoding="utf-8").splitlines() if packed.is_file() else []
    return next((line.split()[0] for line in lines if line.endswith(f" {name}")), None)


def _begun(stage_dir: StageDir) -> Manifest:
    manifest = stage_dir.read_manifest()
    assert manifest is not None, "begin() comes before finish() and fail()"
    return manifest


def _spent(stage_dir: StageDir, before: Manifest) -> float:
    """Seconds of earlier attempts; one that was killed counts until its last record."""
    if before.state != "running":
        return before.seconds
    records, _ = read_stream(stage_dir.metrics_path)
    began = datetime.fromisoformat(before.attempt_started).timestamp()
    last = max((record["t"] for record in records), default=began)
    return before.seconds + max(0.0, last - began)


def _seconds_until_now(manifest: Manifest) -> float:
    if manifest.state != "running":
        return manifest.seconds
    began = datetime.fromisoformat(manifest.attempt_started).timestamp()
    return round(manifest.seconds + max(0.0, time.time() - began), 3)


def _write(stage_dir: StageDir, manifest: Manifest) -> None:
    write_json(stage_dir.manifest_path, manifest.model_dump(mode="json"))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
