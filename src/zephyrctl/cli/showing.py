"""Which judged answers does a person want to see, and how are they laid out?"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zephyrctl import terminal
from zephyrctl.cli.paging import page_lines
from zephyrctl.config.layers import load
from zephyrctl.errors import UsageError
from zephyrctl.evaluation.exchange.standing import Judged, judged_in
from zephyrctl.evaluation.shown import Said, Shown, beside, in_order, shown_of
from zephyrctl.evaluation.stored import judge_name, side_of
from zephyrctl.registry import did_you_mean
from zephyrctl.terminal import safe

_LABEL = 11
"""Columns of a label before its text."""
SIDE_BY_SIDE_FROM = 110
"""Columns from which two answers stand beside each other; narrower, one below the other."""


@dataclass(frozen=True)
class Wanted:
    """What the command line said."""

    ref: str
    benchmark: str | None = None
    model: str | None = None
    against: str | None = None
    judge: str | None = None
    category: str | None = None
    question: str | None = None
    best: bool = False
    rows: int = 10


@dataclass(frozen=True)
class Found:
    """What is to be shown, in order, of how many."""

    run: str
    benchmark: str
    judge: str
    model: str
    against: str | None
    best: bool
    total: int
    rows: tuple[Shown, ...]

    def to_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        return {
            "run": self.run,
            "benchmark": self.benchmark,
            "judge": self.judge,
            "model": self.model,
            "against": self.against,
            "order": "best" if self.best else "worst",
            "total": self.total,
            "rows": [row.to_json() for row in self.rows],
        }


def find(wanted: Wanted) -> Found:
    """The judged answers that were asked for; UsageError where there are none."""
    root = Path(load().recipe.output_root).expanduser()
    side = side_of(wanted.ref, output_root=root)
    judged = judged_in(side.run, benchmark=wanted.benchmark)
    model = wanted.model or side.model
    if model is not None:
        judged = _only(judged, model, what="model", of=lambda item: item.match.model)
    if wanted.judge is not None:
        judged = _only(judged, wanted.judge, what="judge", of=judge_name)
    chosen, shown = _chosen(judged, side.run, wanted)
    kept = [row for row in shown if _is_asked_for(row, wanted)]
    if not kept:
        raise _nothing(shown, wanted)
    rows = in_order(kept, best=wanted.best)[: wanted.rows]
    against = wanted.against or chosen.match.opponent
    return Found(
        side.run.name, chosen.benchmark, judge_name(chosen), chosen.match.model, against,
        wanted.best, len(kept), tuple(rows),
    )  # fmt: skip


def page(found: Found) -> None:
    """Show them, by the user's pager on a terminal."""
    width = terminal.stdout_console().width
    page_lines(lines_of(found, width=width))


def lines_of(found: Found, *, width: int) -> list[str]:
    """The rows as lines of at most `width` columns."""
    kind = "best" if found.best else "worst"
    whose = found.model if found.against is None else f"{found.model} beside {found.against}"
    count = f"{len(found.rows)} " if len(found.rows) > 1 else ""
    judged = "checked by code" if found.judge == "code" else f"judge {found.judge}"
    lines = [
        f"{found.benchmark} · {judged} · {whose} in run {found.run} · the {count}{kind} of "
        f"{found.total}",
        "",
    ]
    for row in found.rows:
        lines += [*_row_lines(row, width=width), ""]
    return [safe(line) for line in lines]


def _chosen(judged: Sequence[Judged], run: Any, wanted: Wanted) -> tuple[Judged, list[Shown]]:
    """The match that was judged last, and its turns; beside `--against`, where that is given."""
    direct = [item for item in judged if item.match.opponent is not None]
    if wanted.against is not None:
        mine = [item for item in direct if item.match.opponent == wanted.against]
        if mine:
            chosen = _newest(mine)
            return chosen, shown_of(chosen)
    alone = [item for item in judged if item.match.opponent is None]
    chosen = _newest(alone or direct)
    if wanted.against is None:
        return chosen, shown_of(chosen)
    others = [
        item
        for item in judged_in(run, benchmark=chosen.benchmark)
        if item.match.opponent is None and item.folder.name == chosen.folder.name
    ]
    (other,) = _only(others, wanted.against, what="model", of=lambda item: item.match.model)
    if other.match.model == chosen.match.model:
        raise UsageError(f"'{wanted.against}' beside itself", hint="--model NAME --against ANOTHER")
    return chosen, beside(shown_of(chosen), shown_of(other))


def _newest(judged: Sequence[Judged]) -> Judged:
    return max(judged, key=lambda item: (item.folder / "judgments.jsonl").stat().st_mtime)


def _only(judged: Sequence[Judged], name: str, *, what: str, of: Any) -> list[Judged]:
    known = list(dict.fromkeys(of(item) for item in judged))
    if name not in known:
        raise UsageError(
            f"no judgments of {what} '{name}'{did_you_mean(name, known)}",
            hint=f"--{what} {f', --{what} '.join(known)}",
        )
    return [item for item in judged if of(item) == name]


def _is_asked_for(row: Shown, wanted: Wanted) -> bool:
    in_category = wanted.category in (None, row.category)
    return in_category and wanted.question in (None, str(row.question_id))


def _nothing(shown: Sequence[Shown], wanted: Wanted) -> UsageError:
    """Why a choice leaves nothing to show."""
    categories = list(dict.fromkeys(row.category for row in shown if row.category))
    if wanted.category is not None and wanted.category not in categories:
        guess = did_you_mean(wanted.category, categories)
        hint = f"--category {', --category '.join(categories)}" if categories else None
        return UsageError(f"no judged answer in category '{wanted.category}'{guess}", hint=hint)
    if wanted.question is not None:
        ids = list(dict.fromkeys(str(row.question_id) for row in shown))
        hint = f"judged are {ids[0]} to {ids[-1]}" if ids else None
        return UsageError(f"no judged answer to question '{wanted.question}'", hint=hint)
    return UsageError("there is no judged answer")


def _row_lines(row: Shown, *, width: int) -> list[str]:
    place = [f"question {row.question_id}", f"turn {row.turn}"]
    place += [f"repeat {row.sample + 1}"] if row.sample else []
    place += [row.category] if row.category else []
    alone = len(row.said) == 1
    verdicts = [said.verdict if alone else f"{said.model} {said.verdict}" for said in row.said]
    lines = _ruled(" · ".join([*place, *verdicts]), width=width)
    if row.prompt is not None:
        lines += _labelled("prompt", row.prompt, width=width)
    if len(row.said) == 2 and width >= SIDE_BY_SIDE_FROM:
        lines += _columns(row.said, width=width)
    else:
        for said in row.said:
            label = "answer" if alone else said.model
            lines += _labelled(label, _text(said), width=width)
    for about, text in row.remarks:
        lines += _labelled(about, text, width=width)
    return lines


def _text(said: Said) -> str:
    if said.text is None:
        return "(the text is not stored)"
    return said.text if said.text.strip() else "(empty)"


def _ruled(heading: str, *, width: int) -> list[str]:
    """A heading with a line to the edge."""
    lines = _wrapped(f"── {safe(heading)} ", width=width)
    return [*lines[:-1], lines[-1] + " " + "─" * max(0, min(width, 120) - len(lines[-1]) - 1)]


def _labelled(label: str, text: str, *, width: int) -> list[str]:
    """A short label before its text, a long one on a line of its own."""
    label = safe(label)
    if len(label) < _LABEL:
        first, *rest = _wrapped(text, width=width - _LABEL - 2)
        blank = " " * _LABEL
        return [f"  {label:<{_LABEL}}{first}", *(f"  {blank}{line}".rstrip() for line in rest)]
    return [f"  {label}", *(f"    {line}".rstrip() for line in _wrapped(text, width=width - 4))]


def _columns(said: Sequence[Said], *, width: int) -> list[str]:
    """Two answers beside each other."""
    half = (width - 3) // 2
    left, right = (_wrapped(_text(one), width=half) for one in said)
    height = max(len(left), len(right))
    heads = (safe(f"{said[0].model}:"), safe(f"{said[1].model}:"))
    rows = [heads, *zip(_filled(left, height), _filled(right, height), strict=True)]
    return ["", *(f"{_padded(one, half)} │ {other}".rstrip() for one, other in rows), ""]


def _filled(lines: list[str], height: int) -> list[str]:
    return lines + [""] * (height - len(lines))


def _padded(line: str, width: int) -> str:
    """Filled with spaces to `width` columns; Chinese signs take two."""
    from rich.cells import cell_len

    return line + " " * max(0, width - cell_len(line))


def _wrapped(text: str, *, width: int) -> list[str]:
    """Lines of at most `width` columns, broken between words; nothing in them is markup."""
    from rich.console import Console
    from rich.text import Text

    stream = io.StringIO()
    console = Console(
        file=stream, width=max(10, width), markup=False, highlight=False, emoji=False,
        no_color=True, force_terminal=False, legacy_windows=False,
    )  # fmt: skip
    console.print(Text(safe(text).rstrip().expandtabs(4)))
    return [line.rstrip() for line in stream.getvalue().rstrip("\n").split("\n")]
