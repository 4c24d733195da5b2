"""What will the model really see of one prepared row, and is it in order?"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from zephyrctl.data.load import Split, Stage, split_file
from zephyrctl.data.messages import Message
from zephyrctl.data.tokens import encode_dialogue, encode_prompt, end_token_ids
from zephyrctl.errors import UsageError
from zephyrctl.runs.store import Run


@dataclass(frozen=True)
class Check:
    """One thing that must hold for a row; `detail` says what was found."""

    name: str
    passed: bool
    detail: str = ""


@dataclass(frozen=True)
class Part:
    """A sequence of tokens with the mask of what is trained: T ids, T pieces of text, T marks."""

    name: str
    ids: list[int]
    pieces: list[str]
    mask: list[int]

    def spans(self) -> Iterator[tuple[str, bool]]:
        """The text in runs of trained and untrained tokens."""
        start = 0
        for end in range(1, len(self.ids) + 1):
            if end == len(self.ids) or self.mask[end] != self.mask[start]:
                yield "".join(self.pieces[start:end]), bool(self.mask[start])
                start = end


@dataclass(frozen=True)
class Inspection:
    """One prepared row: its text, its tokens, and the checks on them."""

    id: str
    row: dict[str, Any]
    parts: list[Part]
    checks: list[Check]

    def to_json(self) -> dict[str, Any]:
        """The object printed under `--json`."""
        return {
            "id": self.id,
            "row": self.row,
            "parts": [vars(part) for part in self.parts],
            "checks": [vars(check) for check in self.checks],
            "passed": all(check.passed for check in self.checks),
        }


@dataclass(frozen=True)
class PreparedRow:
    """One row as it lies in the two files of its split."""

    text: dict[str, Any]
    tokens: dict[str, Any]


def inspect(row: PreparedRow, tokenizer: Any) -> Inspection:
    """What the model sees of a row, checked against the template as it renders today."""
    text, tokens = row.text, row.tokens
    if "messages" in text:
        parts = [_part(tokenizer, "conversation", tokens["input_ids"], tokens["assistant_mask"])]
        checks = _check_dialogue(tokenizer, _messages(text["messages"]), parts[0])
    else:
        parts = [
            _part(tokenizer, "prompt", tokens["prompt_ids"], [0] * len(tokens["prompt_ids"])),
            _part(tokenizer, "chosen", tokens["chosen_ids"], [1] * len(tokens["chosen_ids"])),
            _part(tokenizer, "rejected", tokens["rejected_ids"], [1] * len(tokens["rejected_ids"])),
        ]
        checks = _check_pair(tokenizer, text, parts)
    return Inspection(tokens["id"], text, parts, checks)


def read_row(run: Run, *, stage: Stage, split: Split, index: int) -> PreparedRow:
    """Row `index` (from 0) of a prepared split; UsageError past the end."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(split_file(run, stage, split)) as file:
        rows = file.metadata.num_rows
        if not 0 <= index < rows:
            raise UsageError(
                f"the {split} split of {stage} has {rows} rows",
                where=f"--index {index}",
                hint=f"--index 0 to {rows - 1}" if rows else "--split train",
            )
        first = 0
        group = 0
        while index >= first + file.metadata.row_group(group).num_rows:
            first += file.metadata.row_group(group).num_rows
            group += 1
        tokens = file.read_row_group(group).slice(index - first, 1).to_pylist()[0]
    with split_file(run, stage, split, "jsonl").open(encoding="utf-8") as lines:
        text = json.loads(next(islice(lines, index, None)))
    return PreparedRow(text, tokens)


def _messages(items: Sequence[dict[str, str]]) -> list[Message]:
    return [Message(item["role"], item["content"]) for item in items]


def _part(tokenizer: Any, name: str, ids: list[int], mask: list[int]) -> Part:
    """Tokens with the text that each adds, so that the pieces join to the whole text."""
    pieces: list[str] = []
    held: list[int] = []
    anchor: list[int] = []  # the token before: SentencePiece drops a leading space at a start
    for token in ids:
        held.append(token)
        piece = tokenizer.decode(anchor + held)[len(tokenizer.decode(anchor)) :]
        if piece.endswith("\ufffd") and len(held) < 8:  # bytes of an unfinished character
            pieces.append("")
            continue
        pieces.append(piece)
        anchor, held = [token], []
    if held:
        pieces[-1] = tokenizer.decode(held)
    return Part(name, ids, pieces, mask)


def _check_dialogue(tokenizer: Any, messages: list[Message], part: Part) -> list[Check]:
    whole = encode_dialogue(tokenizer, messages)
    cut = len(whole.input_ids) - len(part.ids)
    head = encode_prompt(tokenizer, messages[:-1])
    same = whole.input_ids[: len(part.ids)] == part.ids
    return [
        _one_bos(tokenizer, part.ids),
        Check("ids are the template's", same, f"{cut} tokens cut at the end" if cut else ""),
        Check("prompt ids are a prefix", whole.input_ids[: len(head)] == head),
        _end_trained(tokenizer, part, is_cut=cut > 0),
        _no_double_eos(tokenizer, part.ids),
    ]


def _check_pair(tokenizer: Any, row: dict[str, Any], parts: list[Part]) -> list[Check]:
    prompt = _messages(row["prompt"])
    head = encode_prompt(tokenizer, prompt)
    bos = 1 if head[0] == tokenizer.bos_token_id else 0
    cut = len(head) - len(parts[0].ids)
    kept = parts[0].ids[bos:]
    detail = f"{cut} tokens cut at the left" if cut else ""
    checks = [
        _one_bos(tokenizer, parts[0].ids),
        Check("prompt ids are the template's", head[len(head) - len(kept) :] == kept, detail),
    ]
    for part in parts[1:]:
        whole = encode_dialogue(tokenizer, [*prompt, *_messages(row[part.name])])
        follows = whole.input_ids[len(head) : len(head) + len(part.ids)] == part.ids
        is_prefix = whole.input_ids[: len(head)] == head
        checks.append(Check(f"prompt ids are a prefix ({part.name})", is_prefix and follows))
        is_cut = sum(whole.assistant_mask[len(head) :]) > len(part.ids)
        checks.append(_end_trained(tokenizer, part, is_cut=is_cut))
        checks.append(_no_double_eos(tokenizer, part.ids, name=part.name))
    return checks


def _one_bos(tokenizer: Any, ids: list[int]) -> Check:
    bos = tokenizer.bos_token_id
    if bos is None:
        return Check("one BOS", True, "the tokenizer has none")
    if ids[0] != bos:
        return Check("one BOS", False, "the row does not start with it")
    # Where BOS and EOS are one token, it also ends turns; only the start can be checked.
    count = ids.count(bos) if bos != tokenizer.eos_token_id else 1 + (ids[1:2] == [bos])
    return Check("one BOS", count == 1, f"{count} found" if count > 1 else "")


def _end_trained(tokenizer: Any, part: Part, *, is_cut: bool) -> Check:
    """Every trained run ends with an end token; the last one may have lost it to the cut."""
    name = "EOS is trained" if part.name == "conversation" else f"EOS is trained ({part.name})"
    ends = end_token_ids(tokenizer)
    last = [
        i
        for i, marked in enumerate(part.mask)
        if marked and (i + 1 == len(part.mask) or not part.mask[i + 1])
    ]
    missing = [i for i in last if part.ids[i] not in ends]
    if is_cut and missing == [len(part.ids) - 1]:
        return Check(name, True, "the last turn is cut before its end")
    detail = f"a turn ends without it at token {missing[0]}" if missing else ""
    return Check(name, bool(last) and not missing, detail)


def _no_double_eos(tokenizer: Any, ids: list[int], *, name: str = "") -> Check:
    eos = tokenizer.eos_token_id
    places = [i for i in range(1, len(ids)) if ids[i] == eos == ids[i - 1]]
    label = f"no double EOS ({name})" if name else "no double EOS"
    return Check(label, not places, f"at token {places[0]}" if places else "")
