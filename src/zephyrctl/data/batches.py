"""What becomes of one batch of raw rows, as far as no other row has to be known?

Convert, filter, tokenize, look for judged prompts: all that is pure in a row, so that any number
of processes gives the same result.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing import get_context
from typing import Literal, cast

from zephyrctl import catalogue
from zephyrctl.config.schema.section import Variant
from zephyrctl.data import filters
from zephyrctl.data.decontamination import Index, Match, QuestionList
from zephyrctl.data.filter_params import Dedup, Length
from zephyrctl.data.messages import Dialogue, PreferencePair, Record
from zephyrctl.data.near_duplicates import signature
from zephyrctl.data.preferences import RatedPrompt, Rule, Unfit, binarize, check_score
from zephyrctl.data.sources import RawRow
from zephyrctl.data.splits import split_key, user_texts
from zephyrctl.data.text import digest, normalized, words
from zephyrctl.data.tokenizers import load_tokenizer
from zephyrctl.data.tokens import (
    Encoded,
    EncodedPair,
    Unusable,
    cut_dialogue,
    encode_dialogues,
    encode_pairs,
)
from zephyrctl.errors import DataError, JobFailed
from zephyrctl.runs import signals

BATCH_ROWS = 256


@dataclass(frozen=True)
class Work:
    """All that decides what becomes of a row; sent once to every process."""

    stage: Literal["sft", "dpo"]
    tokenizer: str
    revision: str | None
    chat_template: str
    filters: tuple[Variant, ...]
    rule: Rule
    seed: int
    max_length: int
    max_prompt_length: int
    cut: bool
    trains_all: bool
    questions: tuple[QuestionList, ...]
    ngram: int
    similarity: float
    drop_matches: bool

    def params(self, kind: type[Variant]) -> Variant | None:
        """The settings of the filter of this kind, or None where the recipe does not list it."""
        return next((variant for variant in self.filters if isinstance(variant, kind)), None)


@dataclass(frozen=True, slots=True)
class Input:
    """A raw row with the name of its converter and the label of its source."""

    row: RawRow
    converter: str
    label: str


@dataclass(frozen=True, slots=True)
class Removed:
    """A row that goes no further, with its reason."""

    reason: str
    place: str
    excerpt: str
    match: Match | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """A row that goes on, with all that later steps need to know of it."""

    record: Record
    encoded: Encoded | EncodedPair
    cut: int
    place: str
    key: bytes
    """Stands for what the user says; see `splits`."""
    whole: bytes
    """Stands for what `dedup` compares."""
    signature: bytes | None
    remarks: dict[str, int] = field(default_factory=dict)
    match: Match | None = None


Outcome = Taken | Removed


class Worker:
    """Works on batches; holds the tokenizer, the filters and the index of judged prompts."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._tokenizer = load_tokenizer(
            work.tokenizer, revision=work.revision, chat_template=work.chat_template
        )
        self._filters = filters.build(
            list(work.filters), special_tokens=_long_special_tokens(self._tokenizer)
        )
        self._index = Index(work.questions, ngram=work.ngram, similarity=work.similarity)
        self._dedup = cast("Dedup | None", work.params(Dedup))
        self._length = cast("Length | None", work.params(Length))

    def run(self, batch: Sequence[Input]) -> list[Outcome]:
        """The outcome of every row, in order."""
        outcomes: dict[int, Outcome] = {}
        pending: list[tuple[int, Record, dict[str, int], Match | None]] = []
        for position, item in enumerate(batch):
            remarks = Counter[str]()
            found = self._record(item, remarks)
            if isinstance(found, Removed):
                outcomes[position] = found
                continue
            match = self._index.find(found)
            if match is not None and self._work.drop_matches:
                reason = f"contains a judged prompt ({match.list})"
                outcomes[position] = Removed(reason, item.row.place, excerpt(found), match)
                continue
            pending.append((position, found, dict(remarks), match))
        encoded = self._encode([record for _, record, _, _ in pending])
        for (position, record, remarks, match), tokens in zip(pending, encoded, strict=True):
            place = batch[position].row.place
            outcomes[position] = self._finish(record, tokens, place, remarks, match)
        return [outcomes[position] for position in range(len(batch))]

    def _record(self, item: Input, remarks: Counter[str]) -> Record | Removed:
        """The filtered record of a raw row."""
        row = item.row
        if row.value is None:
            return Removed(f"broken: {row.problem}", row.place, "")
        try:
            record = self._convert(item, remarks)
        except DataError as error:
            return Removed(f"broken: {error.message}", row.place, _raw_excerpt(row))
        if isinstance(record, Unfit):
            return Removed(record.reason, row.place, _raw_excerpt(row))
        for name, apply in self._filters:
            after = apply(record)
            if isinstance(after, filters.Drop):
                return Removed(after.reason, row.place, excerpt(record))
            if after is not record:
                remarks[name] += 1
                record = after
        return record

    def _convert(self, item: Input, remarks: Counter[str]) -> Record | Unfit:
        assert item.row.value is not None
        converter = catalogue.CONVERTERS.load(item.converter)
        converted = converter.convert(item.row.value, item.label)
        if not isinstance(converted, RatedPrompt):
            return converted
        check_score(converted, self._work.rule, where=item.row.place)
        made = binarize(converted, rule=self._work.rule, seed=self._work.seed)
        if isinstance(made, Unfit):
            return made
        remarks.update(made.remarks)
        return made.pair

    def _encode(
        self, records: Sequence[Record]
    ) -> list[tuple[Encoded, int] | tuple[EncodedPair, int] | Unusable]:
        """Token ids and how many tokens of the trained part were cut."""
        work = self._work
        if work.stage == "sft":
            dialogues = [record.messages for record in records if isinstance(record, Dialogue)]
            whole = encode_dialogues(self._tokenizer, dialogues)
            limit = (
                work.max_length if work.cut else max((len(e.input_ids) for e in whole), default=1)
            )
            return [cut_dialogue(e, max_length=limit, trains_all=work.trains_all) for e in whole]
        pairs = encode_pairs(
            self._tokenizer,
            [record for record in records if isinstance(record, PreferencePair)],
            max_prompt_length=work.max_prompt_length,
            max_length=work.max_length,
        )
        return [p if isinstance(p, Unusable) else (p, p.chosen_cut + p.rejected_cut) for p in pairs]

    def _finish(
        self,
        record: Record,
        tokens: tuple[Encoded, int] | tuple[EncodedPair, int] | Unusable,
        place: str,
        remarks: dict[str, int],
        match: Match | None,
    ) -> Outcome:
        if isinstance(tokens, Unusable):
            return Removed(tokens.reason, place, excerpt(record))
        encoded, cut = tokens
        if self._length is not None:
            measured = measure(encoded, cut, of=self._length.of)
            if measured < self._length.min_tokens:
                return Removed("shorter than min_tokens", place, excerpt(record))
            if self._length.max_tokens is not None and measured > self._length.max_tokens:
                return Removed("longer than max_tokens", place, excerpt(record))
        compared = _compared(record, self._dedup)
        near = self._dedup is not None and self._dedup.near
        return Taken(
            record=record,
            encoded=encoded,
            cut=cut,
            place=place,
            key=split_key(record),
            whole=digest(*(normalized(text) for text in compared)),
            signature=signature([w for text in compared for w in words(text)]) if near else None,
            remarks=remarks,
            match=match,
        )


def measure(encoded: Encoded | EncodedPair, cut: int, *, of: str) -> int:
    """Tokens before anything was cut, of the conversation or of what the assistant says."""
    if isinstance(encoded, Encoded):
        whole = len(encoded.input_ids) + cut
        return whole if of == "conversation" else sum(encoded.assistant_mask) + cut
    longer = max(
        len(encoded.chosen_ids) + encoded.chosen_cut,
        len(encoded.rejected_ids) + encoded.rejected_cut,
    )
    prompt = len(encoded.prompt_ids) + encoded.prompt_cut
    return longer + prompt if of == "conversation" else longer


def excerpt(record: Record) -> str:
    """A record on one line, for the samples of removed rows."""
    return " ⏎ ".join(f"{m.role}: {m.content}" for m in filters.turns(record))


def _raw_excerpt(row: RawRow) -> str:
    return json.dumps(row.value, ensure_ascii=False, default=str)


def _compared(record: Record, dedup: Dedup | None) -> list[str]:
    if dedup is not None and dedup.of == "prompt":
        return user_texts(record)
    return [m.content for m in filters.turns(record)]


def _long_special_tokens(tokenizer: object) -> frozenset[str]:
    """The tokenizer's special tokens; one-letter oddities would drop half of all texts."""
    tokens: Iterable[str] = getattr(tokenizer, "all_special_tokens", ())
    return frozenset(token for token in tokens if len(token) > 2)


def outcomes(items: Iterable[Input], *, work: Work, processes: int) -> Iterator[Outcome]:
    """The outcome of every row, in order, from one process or several; stoppable by a signal."""
    batches = _batched(items)
    if processes == 1:
        worker = Worker(work)
        for batch in batches:
            signals.raise_if_stopping()
            yield from worker.run(batch)
        return
    yield from _in_processes(batches, work=work, processes=processes)


def _batched(items: Iterable[Input]) -> Iterator[list[Input]]:
    iterator = iter(items)
    while batch := list(islice(iterator, BATCH_ROWS)):
        yield batch


def _in_processes(
    batches: Iterator[list[Input]], *, work: Work, processes: int
) -> Iterator[Outcome]:
    # Not forked: the tokenizer's threads would not survive it.
    pool = ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=_start, initargs=(work,)
    )
    try:
        waiting = [pool.submit(_run, batch) for batch in islice(batches, 2 * processes)]
        while waiting:
            signals.raise_if_stopping()
            done: Future[list[Outcome]] = waiting.pop(0)
            yield from done.result()
            waiting.extend(pool.submit(_run, batch) for batch in islice(batches, 1))
    except BrokenProcessPool as error:
        raise JobFailed(
            "a process of data preparation died, most often for lack of memory",
            hint="--set data.processes=1",
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_worker: list[Worker] = []


def _start(work: Work) -> None:
    """Make this process's worker; each process is one thread, they share the cores."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _worker.append(Worker(work))


def _run(batch: list[Input]) -> list[Outcome]:
    return _worker[0].run(batch)
