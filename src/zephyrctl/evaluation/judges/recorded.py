"""Which judgments does a file hold, and for which requests?

Read are FastChat's single and pairwise judgments, votes on pairs (a `winner` over both orders),
AlpacaEval's annotations, and our own judgments of any benchmark, as JSON or JSON lines. A row
answers the prompt it was written for (its text, or the SHA-256 of it); one without prompt answers
by question, turn, models and order; an annotation by instruction, outputs and order.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zephyrctl.errors import DataError
from zephyrctl.evaluation.judges.contract import JudgeReply, JudgeRequest
from zephyrctl.evaluation.votes import read_rows
from zephyrctl.runs.digests import digest_text

_VERDICTS = {
    # winner over both orders: what is replayed for model_1 shown first, and shown second
    "model_1": ("[[A]]", "[[B]]"),
    "model_2": ("[[B]]", "[[A]]"),
    "tie": ("[[C]]", "[[C]]"),
    # The two orders disagree, which is all that the row says; any two that do would do.
    "tie (inconsistent)": ("[[A]]", "[[A]]"),
}
_SIDES = {"model_a": "model_1", "model_b": "model_2"}

Key = tuple[Any, ...]


@dataclass
class Recorded:
    """The replies of a file.

    `by_prompt` has (SHA-256 of the user prompt, repeat), `by_place` (question, turn, models, order,
    repeat), `by_instruction` AlpacaEval's annotations. `overwritten` counts the replies that a
    later row of the same key replaced.
    """

    by_prompt: dict[Key, JudgeReply] = field(default_factory=dict)
    by_place: dict[Key, JudgeReply] = field(default_factory=dict)
    by_instruction: dict[str, list[Annotation]] = field(default_factory=lambda: defaultdict(list))
    judges: set[str] = field(default_factory=set)
    overwritten: int = 0
    repeats: int = 1
    has_outcomes: bool = False

    def find(self, request: JudgeRequest) -> JudgeReply | None:
        """The reply to a request; of a repeat that was not recorded, that of the first."""
        for sample in dict.fromkeys((request.sample, 0)):
            found = self.by_prompt.get((digest_text(request.user), sample))
            if found is None:
                place = (request.question_id, request.turn, request.models, request.order, sample)
                found = self.by_place.get(place)
            if found is not None:
                return found
        return self._annotated(request)

    def _annotated(self, request: JudgeRequest) -> JudgeReply | None:
        found = None
        longest = -1
        for instruction, entries in self.by_instruction.items():
            if len(instruction) <= longest or instruction not in request.user:
                continue
            for entry in entries:
                if entry.answers(request):
                    found, longest = entry.reply, len(instruction)
        return found


@dataclass(frozen=True)
class Annotation:
    """One annotation of AlpacaEval, with its outputs in the order the annotator saw them."""

    instruction: str
    first: str
    second: str
    reply: JudgeReply

    def answers(self, request: JudgeRequest) -> bool:
        """Whether a request shows the same outputs on the same instruction in the same order."""
        start = request.user.find(self.instruction)
        shown = request.user.find(self.first, start + len(self.instruction))
        return (
            start >= 0
            and shown >= 0
            and request.user.find(self.second, shown + len(self.first)) >= 0
        )


def read_recorded(path: Path) -> Recorded:
    """All replies of a file; DataError for a row that holds no judgment."""
    found = Recorded()
    for where, row in read_rows(path):
        keep = next((keep for name, keep in _KINDS.items() if name in row), None)
        if keep is None:
            raise DataError(
                "the row holds no judgment",
                where=where,
                hint="judgments of FastChat, AlpacaEval's annotations.json, or judgments.jsonl",
            )
        keep(found, row, where)
        found.judges.add(_judge_of(row))
    if not found.judges:
        raise DataError("no judgment in the file", where=str(path))
    return found


def _keep_single(found: Recorded, row: Mapping[str, Any], where: str) -> None:
    """FastChat's rating, or one of our own judgments of any benchmark."""
    del where
    reply = JudgeReply(
        str(row["judgment"]),
        logprobs=row.get("logprobs") or _logprobs_of(row.get("probabilities")),
        prompt_tokens=int(row.get("prompt_tokens") or 0),
        completion_tokens=int(row.get("completion_tokens") or 0),
        finish_reason=str(row.get("finish_reason") or "stop"),
    )
    sample = int(row.get("sample") or 0)
    found.repeats = max(found.repeats, sample + 1)
    prompt = _prompt_digest(row, "user_prompt")
    if prompt is not None:
        _put(found, found.by_prompt, (prompt, sample), reply)
        return
    models = row.get("models") or [row.get("model"), row.get("opponent")]
    names = tuple(str(name) for name in models if name is not None)
    order = int(row.get("order") or 0)
    for key in _places(row, names, order):
        _put(found, found.by_place, (*key, sample), reply)


def _keep_pair(found: Recorded, row: Mapping[str, Any], where: str) -> None:
    """FastChat's pairwise judgment, one game in each order; or a row of one game, as ours."""
    names = _pair_names(row, where)
    sample = int(row.get("sample") or 0)
    found.repeats = max(found.repeats, sample + 1)
    for order in (1, 2):
        if f"g{order}_winner" not in row:
            continue
        text = row.get(f"g{order}_judgment")
        if text is None:
            text = _as_written(str(row.get(f"g{order}_winner")), order)
        reply = JudgeReply(str(text), _logprobs_of(row.get(f"g{order}_probabilities")))
        prompt = _prompt_digest(row, f"g{order}_user_prompt")
        if prompt is not None:
            _put(found, found.by_prompt, (prompt, sample), reply)
            continue
        for key in _places(row, names, order):
            _put(found, found.by_place, (*key, sample), reply)


def _keep_outcome(found: Recorded, row: Mapping[str, Any], where: str) -> None:
    """A vote: the winner over both orders."""
    names = _pair_names(row, where)
    winner = str(row["winner"])
    texts = _VERDICTS.get(_SIDES.get(winner, winner), ("", ""))
    found.has_outcomes = True
    for order, text in enumerate(texts, start=1):
        for key in _places(row, names, order):
            _put(found, found.by_place, (*key, 0), JudgeReply(text))


def _keep_annotation(found: Recorded, row: Mapping[str, Any], where: str) -> None:
    """AlpacaEval's annotation; identical outputs were never shown to anybody."""
    from zephyrctl.evaluation.alpaca_eval.protocol import is_switched

    missing = [
        name
        for name in ("instruction", "output_1", "output_2")
        if not isinstance(row.get(name), str)
    ]
    if missing:
        raise DataError(
            f"the annotation lacks '{missing[0]}'",
            where=where,
            hint="annotations.json as AlpacaEval writes it, with texts and raw_completion",
        )
    instruction, outputs = row["instruction"], (row["output_1"], row["output_2"])
    reply = _annotation_reply(row["raw_completion"])
    if reply is None:
        return
    prompt = _prompt_digest(row, "user_prompt")
    if prompt is not None:  # ours: both orders and several repeats stand in one file
        sample = int(row.get("sample") or 0)
        found.repeats = max(found.repeats, sample + 1)
        _put(found, found.by_prompt, (prompt, sample), reply)
        return
    first, second = reversed(outputs) if is_switched(instruction) else outputs
    kept = found.by_instruction[instruction]
    same = [entry for entry in kept if (entry.first, entry.second) == (first, second)]
    found.overwritten += len(same)
    kept[:] = [entry for entry in kept if entry not in same]
    kept.append(Annotation(instruction, first, second, reply))


_KINDS: dict[str, Callable[[Recorded, Mapping[str, Any], str], None]] = {
    "raw_completion": _keep_annotation,
    "g1_winner": _keep_pair,
    "g2_winner": _keep_pair,
    "judgment": _keep_single,
    "winner": _keep_outcome,
}
"""How a row is read, by the first of these fields that it has."""


def _annotation_reply(raw: Any) -> JudgeReply | None:
    """What the annotator wrote, with the log-probabilities of its first token."""
    if raw is None:
        return None
    if isinstance(raw, str):
        return JudgeReply(raw)
    text = raw.get("text")
    if text is None:
        text = (raw.get("message") or {}).get("content") or ""
    content = (raw.get("logprobs") or {}).get("content") or []
    logprobs = None
    if content:
        top = {entry["token"]: entry["logprob"] for entry in content[0]["top_logprobs"]}
        # JSON has no infinity, and our own files have null for it.
        logprobs = {name: -math.inf if value is None else value for name, value in top.items()}
    return JudgeReply(str(text), logprobs, finish_reason=str(raw.get("finish_reason") or "stop"))


def _logprobs_of(chances: Mapping[str, float] | None) -> dict[str, float] | None:
    if chances is None:
        return None
    # An option of no probability is one all the same: without it a `1` could be half a 10.
    return {
        option: math.log(chance) if chance > 0 else -math.inf for option, chance in chances.items()
    }


def _put(found: Recorded, store: dict[Key, JudgeReply], key: Key, reply: JudgeReply) -> None:
    found.overwritten += key in store
    store[key] = reply


def _places(row: Mapping[str, Any], names: tuple[str, ...], order: int) -> Iterator[Key]:
    """Question, turn, models and order; the same pair is also known by its models exchanged."""
    question, turn = row.get("question_id"), row.get("turn", 1)
    yield (question, turn, names, order)
    if len(names) == 2 and order in (1, 2):
        yield (question, turn, names[::-1], 3 - order)


def _pair_names(row: Mapping[str, Any], where: str) -> tuple[str, str]:
    sides = ("model_a", "model_b") if "model_a" in row else ("model_1", "model_2")
    missing = [name for name in ("question_id", *sides) if name not in row]
    if missing:
        raise DataError(f"'{missing[0]}' is missing", where=where)
    return str(row[sides[0]]), str(row[sides[1]])


def _as_written(winner: str, order: int) -> str:
    """What a judge wrote of which only the parsed winner is recorded; nothing for an error."""
    return _VERDICTS[winner][order - 1] if winner in ("model_1", "model_2", "tie") else ""


def _prompt_digest(row: Mapping[str, Any], name: str) -> str | None:
    if isinstance(row.get(name), str):
        return digest_text(row[name])
    return row.get(f"{name}_sha256")


def _judge_of(row: Mapping[str, Any]) -> str:
    judge = row.get("judge", row.get("annotator"))
    if isinstance(judge, list) and judge:
        judge = judge[0]
    return str(judge) if judge else "unknown"
