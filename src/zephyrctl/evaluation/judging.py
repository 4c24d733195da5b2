"""Which judgments stand already, and which have to be asked for?

Each judgment is one JSON line, written as it comes and keyed by everything that decides it: the
judge, the whole request, and the number of the repeat. A rerun asks only for keys that are missing;
a changed answer is another key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

from zephyrctl.evaluation.benchmark import Judgment
from zephyrctl.evaluation.judges.contract import Judge, JudgeReply, JudgeRequest
from zephyrctl.runs.atomic import append_jsonl, read_jsonl
from zephyrctl.runs.digests import digest_json


def key_of(judge: Judge, request: JudgeRequest) -> str:
    """What a judgment is kept under; a deterministic judge is asked once for all repeats."""
    sample = 0 if judge.is_deterministic else request.sample
    return digest_json([dict(judge.identity), request.to_json(), sample])


def judged(
    judge: Judge,
    requests: Sequence[JudgeRequest],
    *,
    path: Path,
    make_row: Callable[[int, JudgeReply], Judgment],
    on_done: Callable[[int, int], None],
) -> list[Judgment]:
    """One judgment per request, in their order; equal requests share one.

    `make_row(index, reply)` gives the record of a reply to `requests[index]`, to which the key and
    the tokens are added. `on_done(done, total)` counts judgments.
    """
    keys = [key_of(judge, request) for request in requests]
    kept = {row["key"]: row for row in read_jsonl(path)}
    missing = list({key: index for index, key in enumerate(keys) if key not in kept}.values())
    total = len(set(keys))
    done = count(total - len(missing))
    on_done(next(done), total)

    def keep(place: int, reply: JudgeReply) -> None:
        index = missing[place]
        row = {
            **make_row(index, reply),
            "prompt_tokens": reply.prompt_tokens,
            "completion_tokens": reply.completion_tokens,
            "key": keys[index],
        }
        append_jsonl(path, row)
        kept[keys[index]] = row
        on_done(next(done), total)

    judge.decide([requests[index] for index in missing], on_reply=keep)
    return [kept[key] for key in keys]
