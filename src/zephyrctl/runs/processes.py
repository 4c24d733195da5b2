"""How does no process outlive the one that started it?

`kill -9` cannot be caught, so cleaning up is left to the kernel: every child asks to be killed
when its parent dies (Linux, `PR_SET_PDEATHSIG`).
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent() -> None:
    """Let the kernel kill this process as soon as the thread that started it ends.

    Called in a child; safe between fork and exec, as it neither imports nor allocates much.
    """
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def children_die_too() -> None:
    """Ask the same of every process that this one forks from now on (data pools, loaders)."""
    os.register_at_fork(after_in_child=die_with_parent)


def adopt_orphans() -> None:
    """Make this process the parent of descendants whose own parent dies, so it can end them."""
    if _libc is not None:
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
