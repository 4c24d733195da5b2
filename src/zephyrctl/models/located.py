"""What is known about a base model once its weights lie on this disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from zephyrctl.models.cache import Entry
from zephyrctl.models.hub import Snapshot

SourceKind = Literal["hub", "hub-cache", "package-index", "folder", "built"]


@dataclass(frozen=True)
class Located:
    """A loadable folder and where it came from.

    `digest` decides whether a run's stages are still valid: SHA-256 of the files, or
    `hub:<id>@<commit>` for a snapshot of the Hub, whose commit pins every byte.
    """

    name: str
    path: Path
    revision: str | None
    source: SourceKind
    digest: str
    note: str
    """One line for the user: what was used."""

    @classmethod
    def of_entry(cls, name: str, entry: Entry) -> Located:
        """A model of our own cache."""
        source: SourceKind = "built" if entry.source == "built" else "package-index"
        return cls(name, entry.path, None, source, entry.digest, entry.note)

    @classmethod
    def of_snapshot(
        cls, name: str, model: str, snapshot: Snapshot, *, source: Literal["hub", "hub-cache"]
    ) -> Located:
        """A commit in the Hub's cache."""
        place = "the Hub" if source == "hub" else "the Hub's cache"
        label = model if name == model else f"{name} is {model}"
        note = f"{label} at {snapshot.commit[:12]} from {place}"
        digest = f"hub:{model}@{snapshot.commit}"
        return cls(name, snapshot.path, snapshot.commit, source, digest, note)
