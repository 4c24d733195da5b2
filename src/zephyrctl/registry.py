"""Find a named thing (filter, converter, benchmark, …) and import it only when it is used."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from zephyrctl.errors import UsageError


@dataclass(frozen=True)
class Entry:
    """One registered name.

    `target` and `params` are "module:attribute" strings, so that listing names imports nothing.
    `params` names the pydantic model of the entry's parameters, if it takes any.
    """

    name: str
    summary: str
    target: str
    params: str | None = None


class Registry:
    """The entries of one kind, in the order they are listed to the user."""

    def __init__(self, kind: str, entries: Iterable[Entry]) -> None:
        self.kind = kind
        self._entries = {entry.name: entry for entry in entries}

    def names(self) -> list[str]:
        return list(self._entries)

    def entries(self) -> list[Entry]:
        return list(self._entries.values())

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def get(self, name: str) -> Entry:
        """The entry called `name`; UsageError with the nearest name otherwise."""
        if name not in self._entries:
            known = ", ".join(self._entries)
            raise UsageError(
                f"unknown {self.kind} '{name}'{did_you_mean(name, self._entries)}",
                hint=f"known: {known}",
            )
        return self._entries[name]

    def load(self, name: str) -> Any:
        """Import and return the target of the entry called `name`."""
        return load_attribute(self.get(name).target)


def load_attribute(target: str) -> Any:
    """Import "package.module:attribute"."""
    module, _, attribute = target.partition(":")
    return getattr(import_module(module), attribute)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name closest to a mistyped one, or None where nothing is close."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or nothing where no known name is close."""
    match = nearest(name, known)
    return f"; did you mean '{match}'?" if match else ""
