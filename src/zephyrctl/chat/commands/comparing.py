"""How do several models answer from now on, and which of their replies was the better one?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zephyrctl import terminal
from zephyrctl.chat.comparison import Comparison
from zephyrctl.chat.seats import MOST
from zephyrctl.errors import UsageError

if TYPE_CHECKING:
    from zephyrctl.chat.repl import Repl

_HINT = "/compare @sft"
_ALONE = ("off", "open")
"""Words that stand alone after /compare; `blind` may also go with models."""


def compare(repl: Repl, rest: str) -> None:
    """Let other models answer too: /compare @sft. Up to three, beside the chat's own.

    @sft and @dpo are those of the run that the chat's model is from, where it has them.

    /compare blind shuffles the replies to each question and hides whose they are until the vote
    (the pace at which one comes may still tell), /compare open shows the names again, /compare off
    goes on with the chat's own model, and /compare alone shows how the votes stand.
    """
    words = rest.split()
    if not words:
        current(repl).greet()
        current(repl).say_tally()
    elif words == ["off"]:
        current(repl)
        repl.end_comparison()
        terminal.say(f"({repl.talker.name} goes on alone)")
    elif words in (["blind"], ["open"]):
        current(repl).blind = words == ["blind"]
        terminal.say(f"(from the next question on: {words[0]})")
    elif alone := next((word for word in words if word in _ALONE), None):
        raise UsageError(f"'{alone}' stands alone", hint=f"/compare {alone}")
    else:
        _begin(repl, [word for word in words if word != "blind"], blind="blind" in words)


def prefer(repl: Repl, rest: str) -> None:
    """Vote on the newest replies: /prefer a, b, …, tie (equally good) or none (equally bad).

    A letter stores that reply against each other one that is not empty as a preference pair, and
    the conversation goes on with it. A tie, and none, are counted and stored as no pair.
    """
    current(repl).prefer(repl.session, rest, totals=repl.totals)


def current(repl: Repl) -> Comparison:
    """The comparison under way; UsageError without one."""
    if repl.comparison is None:
        raise UsageError("only one model answers here", hint=_HINT)
    return repl.comparison


def _begin(repl: Repl, refs: list[str], *, blind: bool) -> None:
    """Find every model before one is freed for another."""
    if repl.seating is None:
        raise UsageError("no other model can be opened here")
    if not 1 <= len(refs) < MOST:
        raise UsageError(f"2 to {MOST} models are compared, not {len(refs) + 1}", hint=_HINT)
    before = repl.comparison
    repl.seating.seats(repl.talker, refs)
    if before is not None:
        repl.end_comparison()
        blind = blind or before.blind
    bench = repl.seating.bench(repl.seating.seats(repl.talker, refs))
    repl.comparison = Comparison(bench, blind, repl.sampling.seed)
    repl.comparison.greet()
