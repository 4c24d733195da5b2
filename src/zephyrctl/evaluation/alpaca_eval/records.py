"""How does one verdict on a pair of outputs stand on disk?

Under upstream's names where it has one (`instruction`, `output_1`, `generator_1`, `preference`,
`raw_completion`, …), so that an export to its `annotations.json` only leaves fields out. Beside
them stand the order of the outputs (1: `output_1` shown first; 0: identical, nobody was asked), the
number of the repeat, and where the preference was read from.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zephyrctl.evaluation.alpaca_eval import protocol
from zephyrctl.evaluation.alpaca_eval.formats import Instruction, Version
from zephyrctl.evaluation.alpaca_eval.protocol import Pair
from zephyrctl.evaluation.benchmark import Answer, Judgment
from zephyrctl.evaluation.judges.contract import JudgeReply, JudgeRequest
from zephyrctl.runs.digests import digest_json, digest_text


@dataclass(frozen=True)
class Game:
    """One pair in one order: what is asked, or nothing where the outputs are identical.

    `models` are (`generator_1`, `generator_2`).
    """

    instruction: Instruction
    pair: Pair
    answer: Answer
    models: tuple[str, str]
    request: JudgeRequest | None


def read_verdict(reply: JudgeReply, version: Version) -> tuple[float | None, str]:
    """The preference for what was shown second, and where it was read from.

    `probabilities`, `text`, or `nothing`. Version 2 falls back on the text of a judge that gives no
    probabilities at all; upstream leaves such a pair out.
    """
    if version == 1:
        shown, source = protocol.shown_by_ranking(reply.text), "text"
    elif reply.logprobs is not None:
        shown, source = protocol.shown_by_logprobs(reply.logprobs), "probabilities"
    else:
        shown, source = protocol.shown_by_letter(reply.text), "text"
    return shown, "nothing" if shown is None else source


def judged_row(game: Game, reply: JudgeReply, *, judge: str, version: Version) -> Judgment:
    """The record of a judge's reply."""
    assert game.request is not None
    order = game.request.order
    shown, source = read_verdict(reply, version)
    return {
        **_common(game, annotator=game.request.prompt_name, judge=judge),
        **_preference(protocol.preference(shown, order=order), source),
        "order": order,
        "judgment": reply.text,
        "user_prompt_sha256": digest_text(game.request.user),
        "raw_completion": raw_completion(reply),
    }


def same_row(game: Game, *, judge: str, version: Version) -> Judgment:
    """The record of two identical outputs: a draw, for which nobody was asked."""
    annotator = protocol.ANNOTATORS[version].name
    pair = game.pair
    key = digest_json(
        ["same", game.answer.question_id, game.answer.sample, *game.models, vars(pair)]
    )
    return {
        **_common(game, annotator=annotator, judge=judge),
        **_preference(protocol.DRAW, "identical"),
        "order": 0,
        "judgment": "",
        "raw_completion": None,
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "key": key,
    }


def raw_completion(reply: JudgeReply) -> dict[str, Any]:
    """A reply in the shape of the completions that upstream stores."""
    logprobs = None
    if reply.logprobs is not None:
        top = [{"token": token, "logprob": value} for token, value in reply.logprobs.items()]
        own = reply.logprobs.get(reply.text)
        logprobs = {"content": [{"token": reply.text, "logprob": own, "top_logprobs": top}]}
    return {
        "finish_reason": reply.finish_reason,
        "index": 0,
        "logprobs": logprobs,
        "message": {"content": reply.text, "role": "assistant"},
        "text": reply.text,
        "total_tokens": reply.prompt_tokens + reply.completion_tokens,
    }


def stored_logprobs(row: Mapping[str, Any]) -> dict[str, float] | None:
    """The first token's log-probabilities in a row of ours, of upstream's, or reduced."""
    if "first_token_logprobs" in row:
        return dict(row["first_token_logprobs"])
    raw = row.get("raw_completion")
    logprobs = raw.get("logprobs") if isinstance(raw, dict) else None
    if not logprobs or not logprobs.get("content"):
        return None
    return {top["token"]: top["logprob"] for top in logprobs["content"][0]["top_logprobs"]}


def _common(game: Game, *, annotator: str, judge: str) -> Judgment:
    return {
        "question_id": game.answer.question_id,
        "turn": 1,
        "sample": game.answer.sample,
        "category": game.instruction.category,
        "model": game.models[1],
        "instruction": game.pair.instruction,
        "output_1": game.pair.output_1,
        "output_2": game.pair.output_2,
        "generator_1": game.models[0],
        "generator_2": game.models[1],
        "dataset": game.instruction.category,
        "annotator": annotator,
        "judge": [judge, annotator],
        "stopped": game.answer.stopped,
        "tstamp": time.time(),
    }


def _preference(preference: float | None, source: str) -> Judgment:
    """`score` is the probability that the model wins, by which judgments are ranked."""
    return {
        "preference": preference,
        "preference_from": source,
        "score": None if preference is None else preference - 1,
    }
