"""Under which licence is the base model, and who says so?

Its own card says it first, where that lies on this disk: in the base's folder, or in the Hub's
cache. A table of the bases of our recipes stands in for a card that is not at hand, and that is
said. Everything else is `unknown`: no licence is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from zephyrctl.catalogue import BASE_MODELS
from zephyrctl.config.paths import is_local
from zephyrctl.errors import ZephyrctlError
from zephyrctl.models import hub, named
from zephyrctl.models.named import SMOLLM2_HUB_ID
from zephyrctl.publishing.card_text import plain

UNKNOWN = "unknown"
_TABLE = {
    SMOLLM2_HUB_ID: "apache-2.0",
    "HuggingFaceTB/SmolLM2-360M": "apache-2.0",
    "HuggingFaceTB/SmolLM2-1.7B": "apache-2.0",
    "mistralai/Mistral-7B-v0.1": "apache-2.0",
    "mistralai/Mixtral-8x7B-v0.1": "apache-2.0",
    "meta-llama/Meta-Llama-3-8B": "llama3",
}
_CARD = "README.md"
_LONGEST_HEAD = 2**18
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_ -]{0,60}")
_LINK = re.compile(r"(https://[^\s<>\"'`|]{1,300}|[\w.-]{1,80})")


@dataclass(frozen=True)
class Licence:
    """A licence as the Hub writes it; `source` is whose word it is, None where nobody's is.

    `more` are the fields that describe a licence which the Hub has no word for.
    """

    name: str = UNKNOWN
    source: str | None = None
    more: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        if self.source is None:
            return (
                "The licence of the base model is unknown: its card is not on the machine that "
                "wrote this, or names none. Look it up before you use or share this model."
            )
        called = f"`{self.name}`"
        if described := " ".join(map(plain, self.more.values())):
            called += f" ({described})"
        return f"The licence of the base model is {called}, by {self.source}."


def licence_of(base: str | None, hub_id: str | None, *, revision: str | None = None) -> Licence:
    """The licence of the base model `base`, whose id on the Hub is `hub_id` where it has one."""
    for folder in _folders(base, hub_id, revision):
        if found := _by_card(folder / _CARD):
            return found
    if name := _TABLE.get(hub_id or ""):
        return Licence(name, "a list in zephyrctl, since the model's own card was not at hand")
    return Licence()


def _folders(base: str | None, hub_id: str | None, revision: str | None) -> Iterator[Path]:
    if base is not None and is_local(base):
        yield Path(base).expanduser()
    if base is not None and base in BASE_MODELS and (folder := named.on_disk(base)):
        yield folder
    try:
        snapshot = hub.cached(hub_id, revision=revision) if hub_id is not None else None
    except ZephyrctlError:  # a damaged copy of the base is no reason not to publish what it became
        return
    if snapshot is not None:
        yield snapshot.path


def _by_card(card: Path) -> Licence | None:
    """What the metadata of a model card say; None where there is no card, or no word of it."""
    head = _metadata(card)
    name = head.get("license")
    if isinstance(name, list) and len(name) == 1:
        name = name[0]
    if not isinstance(name, str) or not _WORD.fullmatch(name) or name.lower() == UNKNOWN:
        return None
    more = {
        key: value
        for key, pattern in (("license_name", _WORD), ("license_link", _LINK))
        if isinstance(value := head.get(key), str) and pattern.fullmatch(value)
    }
    return Licence(name, "the model's own card", more)


def _metadata(card: Path) -> dict[str, Any]:
    try:
        with card.open(encoding="utf-8", errors="replace") as stream:
            text = stream.read(_LONGEST_HEAD)
        cut = re.match(r"\s*---\r?\n(.*?)\r?\n---", text, re.DOTALL)
        head = yaml.safe_load(cut[1]) if cut else None
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return {}
    return head if isinstance(head, dict) else {}
