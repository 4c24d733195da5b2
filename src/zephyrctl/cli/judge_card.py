"""What is printed of a judge that was tested against people?"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from zephyrctl.reports.numbers import NOTHING, percent
from zephyrctl.reports.tables import aligned
from zephyrctl.terminal import safe

Card = Mapping[str, Any]

_WIDTH = 80
_KINDS = ("with_ties", "without_ties")


def card_lines(card: Card) -> list[str]:
    """The card as lines of at most 80 columns."""
    return [
        safe(f"judge {card['judge']}"),
        f"{card['pairs']} of {card['available']} pairs of answers, {card['votes']} votes of "
        f"experts, seed {card['seed']}",
        "",
        *_agreement_lines(card["agreement"]),
        "",
        *_other_lines(card),
        "",
        *_category_lines(card["by_category"]),
        *[line for text in card["notices"] for line in _wrapped(text)],
    ]


def _wrapped(notice: str) -> list[str]:
    return textwrap.wrap(f"! {safe(notice)}", _WIDTH, subsequent_indent="  ")


def _agreement_lines(found: Mapping[str, Any]) -> list[str]:
    rows = [["agreement with people", "with ties", "without ties", "κ"]]
    labels = [("judge", "this judge"), ("gpt_4", "GPT-4, same pairs"), ("people", "other people")]
    for name, label in labels:
        part = found[name] or {}
        rates = [_rate(part.get(kind)) for kind in _KINDS]
        rows.append([f"  {label}", *rates, _kappa(part.get("kappa"))])
    for name, label in (("gpt_4", "GPT-4, published"), ("people", "people, published")):
        rates = [percent(found["published"][name][kind]) for kind in _KINDS]
        rows.append([f"  {label}", *rates, ""])
    return aligned(rows, left=(0, 1, 2, 3))


def _other_lines(card: Card) -> list[str]:
    order, length = card["order"], card["length"]
    rows = [
        ["verdict changes with the order", _rate(order)],
        ["shown first wins", _rate(order["first_shown_wins"])],
        ["longer answer wins", _rate(length["judge"])],
        ["longer answer wins, by people", _rate(length["people"])],
    ]
    verdicts = f"{card['unparsed']} of {card['pairs']} pairs without a verdict"
    if card["repaired"]:
        verdicts += f"; {card['repaired']} of {2 * card['pairs']} had only by asking once more"
    return [*aligned(rows, left=(0, 1)), verdicts]


def _category_lines(by_category: Mapping[str, Any]) -> list[str]:
    if not by_category:
        return []
    rows: list[Sequence[str]] = [["category", "with ties", "", "without ties", ""]]
    for name, part in by_category.items():
        cells = [f"  {name}"]
        for kind in _KINDS:
            agree, total = part[kind]["agree"], part[kind]["total"]
            cells += [percent(agree / total) if total else NOTHING, f"{agree}/{total}"]
        rows.append(cells)
    return [*aligned(rows, left=(0, 2, 4)), ""]


def _rate(bounds: Mapping[str, Any] | None) -> str:
    if not bounds or not bounds["n"]:
        return NOTHING
    return f"{percent(bounds['value'])} {_interval(bounds, scale=100, places=0)}".strip()


def _kappa(bounds: Mapping[str, Any] | None) -> str:
    if not bounds or not _is_number(bounds["value"]):
        return NOTHING
    return f"{bounds['value']:.2f} {_interval(bounds, scale=1, places=2)}".strip()


def _interval(bounds: Mapping[str, Any], *, scale: int, places: int) -> str:
    low, high = bounds["low"], bounds["high"]
    if not _is_number(low):
        return ""
    return f"[{scale * low:.{places}f}, {scale * high:.{places}f}]"


def _is_number(value: float | None) -> bool:
    """Whether there is one: a card read back from its file has null where there was none."""
    return value is not None and not math.isnan(value)
