"""A command of an example's README, as somebody with a clone and no network gives it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def run(folder: Path, *words: str) -> dict[str, Any]:
    """Give a command without its first word in `folder`; its JSON, which is one line."""
    done = subprocess.run(
        [sys.executable, "-m", "zephyrctl", *words, "--json"],
        cwd=folder,
        env={
            **os.environ, "ZEPHYRCTL_OFFLINE": "1", "OMP_NUM_THREADS": "1",
            "ZEPHYRCTL_CACHE": str(folder / "cache"),
        },
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    [line] = done.stdout.splitlines()
    return json.loads(line)
