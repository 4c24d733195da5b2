"""How is one of Slurm's commands run, and what did it complain of?"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence

from zephyrctl.terminal import safe

PATIENCE_S = 60.0
NO_ANSWER = "no answer within"
_SHOWN_LINES = 4
_DEFAULTS = ("SQUEUE_", "SCANCEL_", "SACCT_", "SINFO_", "SCONTROL_")
"""Beginnings of variables with which users choose what these commands show, or ask back: with
`SCANCEL_INTERACTIVE` a job would never be cancelled, with `SQUEUE_STATES` never be found."""


def run(
    argv: Sequence[str], *, env: Mapping[str, str] | None = None, patience_s: float = PATIENCE_S
) -> subprocess.CompletedProcess[str]:
    """Run one of Slurm's commands in `env`, or in this environment without a user's defaults; one
    that never answers, or cannot be started, counts as refused."""
    if env is None:
        env = {name: v for name, v in os.environ.items() if not name.startswith(_DEFAULTS)}
    try:
        return subprocess.run(
            argv,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=patience_s,
            check=False,
            # A Ctrl-C at the terminal is this process's to handle, not sbatch's.
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(argv, 1, "", f"{NO_ANSWER} {patience_s:.0f} s")
    except OSError as error:
        return subprocess.CompletedProcess(argv, 1, "", f"{argv[0]}: {error.strerror}")


def said(done: subprocess.CompletedProcess[str]) -> str:
    """The last lines of a command's complaint, without its own name before each."""
    lines = [line.strip() for line in safe(done.stderr or done.stdout).splitlines()]
    kept = [line.removeprefix("sbatch: error: ") for line in lines if line][-_SHOWN_LINES:]
    return "; ".join(kept) or f"exit code {done.returncode}"
