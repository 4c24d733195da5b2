"""Drills: the real command in child processes, broken at an exact place, and what then stands.

The numbers in the tests' names are those of docs/operations.md. Prepared data and straight runs
are made once, for all processes of pytest together.
"""

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import Shell

from zephyrctl.runs.atomic import read_jsonl
from zephyrctl.runs.digests import digest_file
from zephyrctl.runs.manifest import Manifest
from zephyrctl.runs.store import Run, StageDir, StageName

SETTINGS: dict[str, Any] = {
    "sft.max_steps": 9,
    "sft.save_every": 3,
    "sft.log_every": 1,
    "sft.sample_prompts": 1,
    # Noise, so that the state of the random numbers decides the weights.
    "sft.neftune_alpha": 5,
    "dpo.max_steps": 6,
    "dpo.save_every": 2,
    "dpo.log_every": 1,
    "dpo.sample_prompts": 1,
    "eval.rules.limit": 24,
    "eval.batch_size": 8,
    "eval.bootstrap": 200,
    "launch.grace_s": 60,
    # A drill repeats the command by hand, where it does not say otherwise.
    "launch.max_restarts": 0,
}
"""The toy recipe, cut short."""
PAIR = {"launch.cpu_processes": 2}
TIMINGS = ("second", "memory", "rss", "time", "predict")
"""Parts of the names of metrics that a clock or the machine decides."""


@dataclass(frozen=True)
class Yard(Shell):
    """Where the drills of a session take place: one folder, one cache."""

    def words(self, command: str, name: str, sets: Mapping[str, Any] | None = None) -> list[str]:
        """A command on the run `name` of the toy recipe."""
        settings = {**SETTINGS, **(sets or {}), "name": name}
        changes = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        return [*command.split(), "--recipe", "tiny", *changes, "--progress", "none"]

    def does(
        self,
        command: str,
        name: str,
        *more: str,
        sets: Mapping[str, Any] | None = None,
        fault: str | None = None,
        once: bool = False,
        code: int = 0,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, with faults planned; `once` lets each act a single time."""
        env = {"ZEPHYRCTL_FAULT": fault} if fault else {}
        if once:
            env["ZEPHYRCTL_FAULT_ONCE"] = str(self.folder / f"{name}.faults")
        return self.with_env(env)(*self.words(command, name, sets), *more, code=code)

    def error(self, command: str, name: str, *more: str, **how: Any) -> dict[str, Any]:
        """The error that a command ends with; `how` as for `does`."""
        done = self.does(command, name, *more, "--json", **how)
        (line,) = done.stdout.splitlines()
        error = json.loads(line)["error"]
        assert error["code"] == how["code"]
        return error

    def with_env(self, env: Mapping[str, str]) -> "Yard":
        """The same place with variables set."""
        return replace(self, env={**self.env, **env})

    def run(self, name: str) -> Run:
        """The run of that name."""
        return Run(self.folder / "runs" / name)

    def copy(self, of: str, name: str) -> Run:
        """A run that begins as another one stands."""
        shutil.copytree(self.run(of).root, self.run(name).root)
        return self.run(name)


@pytest.fixture(scope="session")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Yard:
    """One folder for all processes of this pytest, without configuration and with an empty home."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "drills"
    home = folder / "home"
    home.mkdir(parents=True, exist_ok=True)
    dropped = ("ZEPHYRCTL_", "OPENAI", "HF_TOKEN", "WANDB")
    env = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    env |= {
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "HF_HUB_OFFLINE": "1",
        "ZEPHYRCTL_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "80",
    }
    return Yard(folder, env)


@pytest.fixture(scope="session")
def prepared(yard: Yard) -> str:
    """The name of a run with prepared data."""
    return _once(yard, "prepared", lambda: yard.does("data prepare", "prepared"))


@pytest.fixture(scope="session")
def straight_sft(yard: Yard, prepared: str) -> str:
    """The name of a run whose SFT nothing disturbed."""
    return _straight(yard, "straight-sft", of=prepared, command="sft")


@pytest.fixture(scope="session")
def straight_pair(yard: Yard, prepared: str) -> str:
    """The name of a run whose SFT two processes did undisturbed."""
    return _straight(yard, "straight-pair", of=prepared, command="sft", sets=PAIR)


@pytest.fixture(scope="session")
def straight_dpo(yard: Yard, straight_sft: str) -> str:
    """The name of a run whose DPO nothing disturbed."""
    return _straight(yard, "straight-dpo", of=straight_sft, command="dpo")


def outcome(stage: StageDir) -> dict[str, Any]:
    """What must not depend on how often a training stage was disturbed."""
    manifest = manifest_of(stage)
    assert manifest.state == "finished"
    return {
        "weights": weights_hash(stage),
        "metrics": numbers(manifest.metrics),
        "curve": curve(stage),
        "samples": stage.samples_path.read_text(encoding="utf-8"),
    }


def manifest_of(stage: StageDir) -> Manifest:
    """The manifest of a stage that was begun."""
    manifest = stage.read_manifest()
    assert manifest is not None
    return manifest


def weights_hash(stage: StageDir) -> str:
    """SHA-256 of the published weights, which the manifest must agree with."""
    return digest_file(stage.model / "model.safetensors")


def numbers(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics without those that a clock or the machine decides."""
    return {
        name: value for name, value in metrics.items() if not any(word in name for word in TIMINGS)
    }


def curve(stage: StageDir) -> list[tuple[str, int, float | None]]:
    """Every recorded step with its loss, in order."""
    return [
        (record["split"], record["step"], record["values"].get("loss"))
        for record in read_jsonl(stage.metrics_path)
        if record["kind"] == "metrics"
    ]


def checkpoints(stage: StageDir) -> list[str]:
    """Names in the folder of checkpoints, hidden ones too."""
    return sorted(path.name for path in stage.checkpoints.glob("*"))


def leftovers(run: Run) -> list[str]:
    """Files and folders that a killed process had not finished."""
    return sorted(
        path.relative_to(run.root).as_posix()
        for path in run.root.rglob("*")
        if ".partial" in path.name or ".old-" in path.name or path.name.endswith(".tmp")
    )


def stage_of(yard: Yard, name: str, stage: StageName) -> StageDir:
    """A stage of the run of that name."""
    return yard.run(name).stage(stage)


def _straight(
    yard: Yard, name: str, *, of: str, command: str, sets: Mapping[str, Any] | None = None
) -> str:
    def make() -> None:
        yard.copy(of, name)
        yard.does(command, name, sets=sets)

    return _once(yard, name, make)


def _once(yard: Yard, name: str, make: Callable[[], object]) -> str:
    """Make a run unless another process of pytest has; an unfinished one is made anew."""
    made = yard.folder / f"{name}.made"
    with _alone(yard.folder / f"{name}.lock"):
        if not made.exists():
            shutil.rmtree(yard.run(name).root, ignore_errors=True)
            make()
            made.touch()
    return name


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("w", encoding="ascii") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
