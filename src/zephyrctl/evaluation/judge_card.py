"""What is known of a judge? What `eval judge-test` measured of it, kept by its identity.

A card lies in the cache beside the judgments it was made from, so that it is shown with every
later score of the same judge, in whatever run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from zephyrctl import environment
from zephyrctl.evaluation.judges.contract import Judge
from zephyrctl.runs.atomic import write_json
from zephyrctl.runs.digests import digest_json
from zephyrctl.runs.references import safe_name

_CARD = "card.json"
_ROOM = "judges"


def find_card(judge: Judge) -> dict[str, Any] | None:
    """What was measured of exactly this judge; None where nothing was."""
    path = environment.cache_root() / _ROOM / _name(judge) / _CARD
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none yet, or a cache that was tampered with: it can be redone
        return None
    return card if isinstance(card, dict) else None


def save_card(judge: Judge, card: dict[str, Any]) -> Path:
    """Keep what was measured of a judge, in place of what was known before; the file."""
    path = judge_room(judge) / _CARD
    write_json(path, card)
    return path


def judge_room(judge: Judge) -> Path:
    """The folder of a judge in the cache, made where it is missing."""
    return environment.made_in_cache(f"{_ROOM}/{_name(judge)}")


def _name(judge: Judge) -> str:
    return f"{safe_name(judge.name)}-{digest_json(dict(judge.identity))[:12]}"
