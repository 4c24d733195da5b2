"""Whose code did the user allow to be run, and how do the processes of a run learn of it?

A model's repository can bring code of its own. It runs only where the command line (or the
variable that stands for it) names the repository and one commit of it; no configuration file can.
For the processes of a stage that stands in the run's manifest, which every command writes anew
before it starts them.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from zephyrctl.errors import UsageError

FLAG = "--trust-remote-code"
VARIABLE = "ZEPHYRCTL_TRUST_REMOTE_CODE"
KEY = "trusted_code"
_WORD = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)@([0-9a-f]{40})", re.ASCII)


@dataclass(frozen=True)
class Trusted:
    """One commit of one repository of the Hub."""

    repository: str
    commit: str

    def __str__(self) -> str:
        return f"{self.repository}@{self.commit}"


def parse(words: Iterable[str]) -> tuple[Trusted, ...]:
    """Commits from `OWNER/NAME@COMMIT`; UsageError for a branch, a tag or a shortened commit, whose
    content can change."""
    found = []
    for word in words:
        match = _WORD.fullmatch(word)
        if match is None:
            raise UsageError(
                f"'{word}' does not name one commit of one repository",
                where=FLAG,
                hint=f"{FLAG} OWNER/NAME@COMMIT, with all 40 digits of the commit that you read",
            )
        found.append(Trusted(match[1], match[2]))
    return tuple(dict.fromkeys(found))


def allow(words: Iterable[str]) -> None:
    """Trust these commits in this process and those that it starts, and no others."""
    trusted = parse(words)
    if trusted:
        os.environ[VARIABLE] = " ".join(map(str, trusted))
    else:
        os.environ.pop(VARIABLE, None)


def commits() -> tuple[Trusted, ...]:
    """What this process may run."""
    return parse(os.environ.get(VARIABLE, "").split())


def adopt(manifest: Path) -> None:
    """Trust what the manifest of a run says, in place of what the environment says."""
    try:
        words = json.loads(manifest.read_text(encoding="utf-8")).get(KEY, [])
    except (OSError, ValueError, AttributeError):
        words = []
    allow(map(str, words))
