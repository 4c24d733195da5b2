"""What became of the rows that data preparation read?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zephyrctl.reports.tables import aligned
from zephyrctl.terminal import safe


@dataclass(frozen=True)
class Part:
    """One split of one stage's data."""

    stage: str
    split: str
    read: int
    kept: int
    removed: tuple[tuple[str, int], ...]
    changed: tuple[tuple[str, int], ...]
    tokens: int | None

    @property
    def name(self) -> str:
        return f"{self.stage} {self.split}"


@dataclass(frozen=True)
class Account:
    """Every split, and which test questions could not be checked against the training rows."""

    parts: tuple[Part, ...]
    checked: tuple[str, ...] = ()
    not_checked: tuple[str, ...] = ()


def read_account(path: Path) -> Account | None:
    """The account that `data prepare` wrote, or None where there is none."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return None if not isinstance(record, dict) else _parse(record)


def account_lines(account: Account | None) -> list[str]:
    """One line per split, then what decontamination could not check."""
    if account is None:
        return []
    rows = [
        [
            part.name,
            f"{part.kept} kept",
            f"of {part.read}",
            "removed: " + ", ".join(f"{n} {safe(why)}" for why, n in part.removed)
            if part.removed
            else "",
        ]
        for part in account.parts
    ]
    lines = aligned(rows, left=(0, 3))
    return lines + [f"! decontamination NOT CHECKED against {safe(n)}" for n in account.not_checked]


def _parse(record: Mapping[str, Any]) -> Account:
    parts = []
    for stage in ("sft", "dpo"):
        splits = record.get(stage)
        for split, entry in (splits if isinstance(splits, dict) else {}).items():
            if isinstance(entry, dict):
                parts.append(_part(stage, split, entry))
    return Account(parts=tuple(parts))


def _part(stage: str, split: str, entry: Mapping[str, Any]) -> Part:
    return Part(
        stage=stage,
        split=split,
        read=int(entry.get("read", 0)),
        kept=int(entry.get("kept", 0)),
        removed=_counts(entry.get("removed")),
        changed=_counts(entry.get("changed")),
        tokens=entry.get("tokens"),
    )


def _counts(value: object) -> tuple[tuple[str, int], ...]:
    if not isinstance(value, dict):
        return ()
    counts = [(str(key), int(n)) for key, n in value.items() if isinstance(n, int) and n > 0]
    return tuple(sorted(counts, key=lambda item: (-item[1], item[0])))
