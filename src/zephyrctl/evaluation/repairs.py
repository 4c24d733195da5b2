"""What is a judge asked that wrote a judgment without a verdict?

It is shown its own text once more, alone, and asked for the verdict that the text comes to. The
reply is kept as a row of its own that names the judgment it repairs: upstream's figures stay
without it, and how many there are is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from zephyrctl.evaluation.benchmark import Judgment
from zephyrctl.evaluation.fencing import fence
from zephyrctl.evaluation.judges.contract import Judge, JudgeReply, JudgeRequest
from zephyrctl.evaluation.judging import judged

REPAIRS = "repairs"
"""Field of a repairing row: the key of the judgment that it repairs."""
RATING_WANTED = "the rating alone, as [[n]] with a number from 1 to 10"
WINNER_WANTED = "the verdict alone: [[A]], [[B]], or [[C]] for a tie"
_MAX_TOKENS = 64


def repair_request(request: JudgeRequest, judgment: str, *, wanted: str) -> JudgeRequest:
    """The question for the verdict of a judgment that was given to `request`."""
    mark = fence([judgment])
    user = (
        "You judged an answer and wrote the text below, which does not hold your verdict in the "
        f"form it was asked for.\n\n{mark.enclose(judgment)}\n\n"
        f"Reply with {wanted}. Judge nothing anew; if the text comes to no verdict, reply [[none]]."
    )
    return replace(
        request, system="", user=user, options=(), top_logprobs=0, max_tokens=_MAX_TOKENS
    )


def judged_with_repairs(
    judge: Judge,
    requests: Sequence[JudgeRequest],
    *,
    path: Path,
    make_row: Callable[[int, JudgeReply], Judgment],
    on_done: Callable[[int, int], None],
    unread: Callable[[Judgment], str | None],
    wanted: str | None,
) -> list[Judgment]:
    """`judged`, then one repair for each judgment without a verdict; the repairing rows come last.

    `unread` gives the text of a judgment that has no verdict, None for one that has. `wanted` says
    what form the verdict has; None repairs nothing. A judge that said nothing at all is not asked
    again: there is no verdict to be had from it.
    """
    rows = judged(judge, requests, path=path, make_row=make_row, on_done=on_done)
    texts = {place: unread(row) or "" for place, row in enumerate(rows)}
    broken = [place for place, text in texts.items() if text.strip()]
    if wanted is None or not broken:
        return rows
    again = [repair_request(requests[place], texts[place], wanted=wanted) for place in broken]

    def repaired(index: int, reply: JudgeReply) -> Judgment:
        place = broken[index]
        return {**make_row(place, reply), REPAIRS: rows[place]["key"]}

    before = len(rows)
    mended = judged(
        judge,
        again,
        path=path,
        make_row=repaired,
        on_done=lambda done, total: on_done(before + done, before + total),
    )
    return [*rows, *mended]


def is_repair(row: Mapping[str, Any]) -> bool:
    """Whether a row repairs an earlier one."""
    return REPAIRS in row
