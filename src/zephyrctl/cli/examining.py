"""How is a judge tested: prepared, agreed to, asked with progress, and its card kept?"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zephyrctl import terminal
from zephyrctl.cli import spending
from zephyrctl.config.schema import Recipe
from zephyrctl.evaluation import judge_test
from zephyrctl.evaluation.bill import Bill, bill_of_sample
from zephyrctl.evaluation.judge_card import judge_room, save_card
from zephyrctl.evaluation.judges.contract import Judge
from zephyrctl.evaluation.judges.open import open_judge
from zephyrctl.evaluation.spending import metered
from zephyrctl.reports.numbers import duration


@dataclass(frozen=True)
class Sample:
    """Which pairs of answers are asked about; `turn` None takes both turns."""

    pairs: int
    seed: int
    turn: int | None


_QUIET_S, _LIVE_S = 30.0, 0.2
"""Pauses between two lines of progress, off a terminal and on one."""


def examine(recipe: Recipe, sample: Sample, *, yes: bool, may_ask: bool) -> dict[str, Any]:
    """The card of the configured judge, made and kept.

    UsageError or Interrupted where the judge costs money and nobody agreed to it.
    """
    with metered(recipe) as meter:
        judge = open_judge(recipe)
        folder = judge_room(judge)
        exam = _prepared(recipe, judge, sample)
        bill = _bill(exam, recipe, folder)
        spending.agree_to([bill], recipe, yes=yes, may_ask=may_ask)
        progress = _Progress()
        try:
            rows = judge_test.sit(exam, folder=folder, on_done=progress.tell)
        finally:
            progress.close()
            judge.close()
            if meter.line:
                terminal.say(meter.line)
    card = judge_test.card_of(exam, rows, replicates=recipe.eval.bootstrap)
    path = save_card(judge, card)
    terminal.say(f"kept   {path}")
    return card


def expected_cost(recipe: Recipe, sample: Sample) -> Bill:
    """What the test would ask and cost; nothing is asked."""
    judge = open_judge(recipe)
    return _bill(_prepared(recipe, judge, sample), recipe, judge_room(judge))


def _prepared(recipe: Recipe, judge: Judge, sample: Sample) -> judge_test.Exam:
    exam = judge_test.prepare(recipe, judge, pairs=sample.pairs, seed=sample.seed, turn=sample.turn)
    if len(exam.items) < sample.pairs:
        terminal.say(f"there are {len(exam.items)} pairs, all of them are asked about")
    return exam


def _bill(exam: judge_test.Exam, recipe: Recipe, folder: Path) -> Bill:
    path = folder / judge_test.JUDGMENTS
    return bill_of_sample("judge-test", exam.judge, exam.requests, recipe, path=path)


class _Progress:
    """One line on a terminal, now and then a line elsewhere."""

    def __init__(self) -> None:
        self._live = terminal.is_tty(sys.stderr)
        self._began = time.monotonic()
        self._first: int | None = None
        self._due = 0.0

    def tell(self, done: int, total: int) -> None:
        """`done` of `total` judgments stand."""
        now = time.monotonic()
        if self._first is None:
            self._first, self._began = done, now
            terminal.say(f"{total} judgments wanted, {done} found from an earlier run")
            self._due = now + (_LIVE_S if self._live else _QUIET_S)
            return
        if now < self._due and done < total:
            return
        self._due = now + (_LIVE_S if self._live else _QUIET_S)
        rate = (done - self._first) / max(now - self._began, 1e-9)
        left = duration((total - done) / rate) if rate else "?"
        line = f"{done}/{total} judgments, {left} left"
        terminal.say(f"\r{line:<50}" if self._live else line, end="" if self._live else "\n")

    def close(self) -> None:
        """End the live line."""
        if self._live and self._first is not None:
            terminal.say()
