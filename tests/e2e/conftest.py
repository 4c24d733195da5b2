"""The real command in child processes, on the toy recipe cut short."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SHORT = {
    "sft.max_steps": 9,
    "sft.save_every": 3,
    "sft.log_every": 1,
    "dpo.max_steps": 6,
    "dpo.save_every": 2,
    "dpo.log_every": 1,
    "eval.rules.limit": 24,
    "eval.batch_size": 8,
    "eval.bootstrap": 200,
}
"""Enough of every stage to be stopped in its middle."""
LIMIT_S = 280
CANARY = "canary-5e9f1c07a4"
"""Stands in every key that the commands inherit, so that a file can be searched for it."""


@dataclass(frozen=True)
class Shell:
    """Where commands run: a folder of its own and a cache that the session shares."""

    folder: Path
    env: dict[str, str]

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "zephyrctl", *words]

    def __call__(self, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command to its end and expect its exit code."""
        done = subprocess.run(
            self.argv(*words),
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    def json(self, *words: str, code: int = 0) -> dict[str, Any]:
        """The one JSON object that a command prints."""
        lines = self(*words, "--json", code=code).stdout.splitlines()
        assert len(lines) == 1
        return json.loads(lines[0])

    def kill_when(self, ready: Callable[[], bool], *words: str) -> None:
        """Start a command and kill -9 its whole process group as soon as `ready()`."""
        child = subprocess.Popen(
            self.argv(*words),
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_for(ready, alive=lambda: child.poll() is None)
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def wait_for(ready: Callable[[], bool], *, alive: Callable[[], bool] = lambda: True) -> None:
    """Poll until `ready()`; fails where the process ended first or time is up."""
    deadline = time.monotonic() + LIMIT_S
    while not ready():
        assert alive(), "the command ended before it could be stopped"
        assert time.monotonic() < deadline, "the moment to stop never came"
        time.sleep(0.01)


def short_run(name: str) -> list[str]:
    """`run` on the toy recipe, cut short, under a name."""
    sets = [word for key, value in SHORT.items() for word in ("--set", f"{key}={value}")]
    return ["run", "--recipe", "tiny", "--set", f"name={name}", *sets, "--progress", "none"]


@pytest.fixture(scope="session")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A folder without configuration, and an empty home."""
    folder = tmp_path_factory.mktemp("e2e")
    home = folder / "home"
    home.mkdir()
    env = {name: value for name, value in os.environ.items() if not name.startswith("ZEPHYRCTL_")}
    env |= {
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "HF_HUB_OFFLINE": "1",
        "ZEPHYRCTL_OFFLINE": "1",
    }
    env |= dict.fromkeys(("HF_TOKEN", "OPENAI_API_KEY", "WANDB_API_KEY"), f"sk-{CANARY}")
    return Shell(folder, env)


@pytest.fixture(scope="session")
def straight(shell: Shell) -> Path:
    """The run directory of an uninterrupted run."""
    shell(*short_run("straight"))
    return shell.folder / "runs" / "straight"
