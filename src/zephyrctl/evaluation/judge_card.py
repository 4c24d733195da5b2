"""What is known of a judge? What `eval judge-test` measured of it, kept by its identity.

A card lies in the cache beside the judgments it was made from, so that it is shown with every
later score of the same judge, in whatever run.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zephyrctl import environment
from zephyrctl.config.schema.evaluation import Judge as JudgeSettings
from zephyrctl.evaluation.judges.contract import Judge
from zephyrctl.runs.atomic import write_json
from zephyrctl.runs.digests import digest_json
from zephyrctl.runs.references import safe_name

_CARD = "card.json"
_ROOM = "judges"


def find_card(judge: Judge, settings: JudgeSettings) -> dict[str, Any] | None:
    """What was measured of exactly this judge, asked as `settings` say; None where nothing was."""
    path = environment.cache_root() / _ROOM / _name(judge) / _CARD
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none yet, or a cache that was tampered with: it can be redone
        return None
    if not isinstance(card, dict):
        return None
    asked = (card.get("scoring"), card.get("fence"))
    return card if asked == (settings.scoring, settings.fence) else None


def save_card(judge: Judge, card: dict[str, Any]) -> Path:
    """Keep what was measured of a judge, in place of what was known before; the file.

    The card goes into scores and reports in a few words, its `lines`.
    """
    path = judge_room(judge) / _CARD
    write_json(path, {**card, "lines": summary_lines(card)})
    return path


def summary_lines(card: Mapping[str, Any]) -> list[str]:
    """The card in four short lines."""
    agreed, turn = card["agreement"], card.get("turn")
    on = f"{card['pairs']} pairs{f' of turn {turn}' if turn else ''}"
    if agreed["judge"] is None:
        return [f"the judge gave too few verdicts on {on} that people voted on"]
    published = agreed["published"]
    rates = [
        f"{_percent(agreed['judge'][kind])} {words} (GPT-4 {published['gpt_4'][kind]:.0%}, "
        f"people {published['people'][kind]:.0%})"
        for kind, words in (("with_ties", "with ties"), ("without_ties", "without"))
    ]
    order, length = card["order"], card["length"]
    return [
        f"the judge against people's votes on {on}:",
        f"agrees {rates[0]},",
        rates[1],
        f"{_percent(order)} of verdicts change with the order; the longer answer wins "
        f"{_percent(length['judge'])}",
        f"(by people {_percent(length['people'])})",
    ]


def judge_room(judge: Judge) -> Path:
    """The folder of a judge in the cache, made where it is missing."""
    return environment.made_in_cache(f"{_ROOM}/{_name(judge)}")


def _percent(bounds: Mapping[str, Any]) -> str:
    """`66 % [59, 73]`; a dash where nothing was counted."""
    value, low, high = (bounds[key] for key in ("value", "low", "high"))
    if value is None or math.isnan(value):
        return "–"
    if low is None or math.isnan(low):
        return f"{100 * value:.0f} %"
    return f"{100 * value:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"


def _name(judge: Judge) -> str:
    return f"{safe_name(judge.name)}-{digest_json(dict(judge.identity))[:12]}"
