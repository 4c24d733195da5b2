"""Drills 24 and 25: names that are commands, secrets, and attempts that get nowhere.

The other halves of drill 25, a real Slurm and two hosts, have files of their own.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.drills.conftest import Yard, checkpoints, curve, manifest_of, stage_of
from tests.drills.test_sft_drills import hanging

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

CANARY = "canary-3c1f9e"
SECRETS = {
    name: f"{CANARY}-{name}"
    for name in ("HF_TOKEN", "OPENAI_API_KEY", "WANDB_API_KEY", "MY_CLOUD_SECRET")
}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "job\n#SBATCH --output=/etc/passwd"),
        ("name", "job; touch injected"),
        ("name", "../outside"),
        ("launch.slurm.partition", "gpu\ntouch injected"),
        ("launch.slurm.account", "$(touch injected)"),
        ("launch.slurm.constraint", "h100 --wrap=id"),
        ("launch.slurm.options", "['--wrap=touch injected']"),
        ("launch.slurm.modules", "['cuda; touch injected']"),
        ("launch.skypilot.bucket", "s3://mine; touch injected"),
        ("launch.interface", "eth0;touch injected"),
        ("launch.rendezvous", "host:29500 --max-restarts 9"),
    ],
)
def test_24_a_name_that_is_a_command_is_refused(
    yard: Yard, tmp_path: Path, field: str, value: str
) -> None:
    words = ["sft", "--recipe", "tiny", "--set", f"{field}={json.dumps(value)}", "--print-launch"]
    if value.startswith("["):
        words[4] = f"{field}={value}"
    done = replace(yard, folder=tmp_path)(*words, code=2)
    assert "error[" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_24_secrets_of_the_environment_are_found_nowhere(yard: Yard, prepared: str) -> None:
    armed = yard.with_env(SECRETS)
    for backend in ("local", "slurm", "skypilot"):
        sets: dict[str, Any] = {"launch.backend": backend}
        if backend != "local":
            sets |= {"launch.gpus_per_node": 0, "launch.skypilot.bucket": "s3://mine"}
        words = [*yard.words("sft", "armed", sets)[:-2], "--print-launch"]
        for more in ((), ("--json",)):
            done = armed(*words, *more)
            assert CANARY not in done.stdout + done.stderr
            assert "HF_TOKEN" in done.stdout or not more  # by its name it may be told
    run = yard.copy(prepared, "armed")
    with hanging(armed, "sft", "armed", until=lambda: bool(curve(run.stage("sft")))) as child:
        tree = [child.pid, *(p.pid for p in psutil.Process(child.pid).children(recursive=True))]
        assert len(tree) >= 3  # the command, torchrun, the worker
        for pid in tree:
            assert CANARY.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
    armed.does("sft", "armed")
    for folder in (run.root, yard.folder / "home"):
        for path in folder.rglob("*"):
            if path.is_file():
                assert CANARY.encode() not in path.read_bytes(), path


def test_25_attempts_without_progress_end_the_command(yard: Yard, prepared: str) -> None:
    """Killed before the first checkpoint it is not repeated; killed after one, once."""
    for name, fault, attempts, stands in (
        ("stuck-at-once", "step=2:kill", 1, []),
        ("stuck-later", "step=4:kill", 2, ["checkpoint-3"]),
    ):
        stage = yard.copy(prepared, name).stage("sft")
        sets = {"launch.max_restarts": 4}
        error = yard.error("sft", name, sets=sets, fault=fault, code=1)
        assert "SIGKILL" in error["message"]
        assert manifest_of(stage).attempts == attempts
        assert manifest_of(stage).state == "failed"
        assert checkpoints(stage) == stands


def test_25_a_launch_of_a_finished_stage_starts_nothing(yard: Yard, straight_sft: str) -> None:
    stage = stage_of(yard, straight_sft, "sft")
    before = stage.manifest_path.read_bytes()
    left = stage.checkpoints / "checkpoint-9"  # as a kill right after the end leaves it
    left.mkdir(parents=True)
    done = yard.does("sft", straight_sft)
    assert "skipped" in done.stderr
    assert stage.manifest_path.read_bytes() == before
    assert not left.exists()
