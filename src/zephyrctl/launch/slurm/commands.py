"""How is one of Slurm's commands run, and what did it complain of?"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from zephyrctl.terminal import safe

PATIENCE_S = 60.0
_TICK_S = 0.1
NO_ANSWER = "no answer within"
_SHOWN_LINES = 4
_DEFAULTS = ("SQUEUE_", "SCANCEL_", "SACCT_", "SINFO_", "SCONTROL_")
"""Beginnings of variables with which users choose what these commands show, or ask back: with
`SCANCEL_INTERACTIVE` a job would never be cancelled, with `SQUEUE_STATES` never be found."""
_hurries: Callable[[], bool] | None = None
"""Whether somebody does not want to wait for an answer any longer."""


@contextmanager
def unless(asked: Callable[[], bool]) -> Iterator[None]:
    """Let no command of this block wait on for an answer once `asked` is true."""
    global _hurries
    before, _hurries = _hurries, asked
    try:
        yield
    finally:
        _hurries = before


def run(
    argv: Sequence[str], *, env: Mapping[str, str] | None = None, patience_s: float = PATIENCE_S
) -> subprocess.CompletedProcess[str]:
    """Run one of Slurm's commands in `env`, or in this environment without a user's defaults; one
    that never answers, or cannot be started, counts as refused."""
    if env is None:
        env = {name: v for name, v in os.environ.items() if not name.startswith(_DEFAULTS)}
    try:
        child = subprocess.Popen(
            argv,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            # A Ctrl-C at the terminal is this process's to handle, not sbatch's.
            start_new_session=True,
        )
    except OSError as error:
        return subprocess.CompletedProcess(argv, 1, "", f"{argv[0]}: {error.strerror}")
    try:
        return _answer(child, argv, patience_s)
    finally:
        if child.poll() is None:
            # With its children, which else would hold the pipes open.
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.communicate()


def _answer(
    child: subprocess.Popen[str], argv: Sequence[str], patience_s: float
) -> subprocess.CompletedProcess[str]:
    began = time.monotonic()
    while True:
        with suppress(subprocess.TimeoutExpired):
            out, err = child.communicate(timeout=_TICK_S)
            return subprocess.CompletedProcess(argv, child.returncode, out, err)
        waited = time.monotonic() - began
        if waited > patience_s or (_hurries is not None and _hurries()):
            return subprocess.CompletedProcess(argv, 1, "", f"{NO_ANSWER} {waited:.0f} s")


def said(done: subprocess.CompletedProcess[str]) -> str:
    """The last lines of a command's complaint, without its own name before each."""
    lines = [line.strip() for line in safe(done.stderr or done.stdout).splitlines()]
    kept = [line.removeprefix("sbatch: error: ") for line in lines if line][-_SHOWN_LINES:]
    return "; ".join(kept) or f"exit code {done.returncode}"
