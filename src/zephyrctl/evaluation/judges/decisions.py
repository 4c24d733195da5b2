"""How probable is each possible verdict to a model in this process?

Every option is scored from one reading of the prompt, as transformers' decision pipeline does for
any chat model (5.23, `pipelines/decision.py`: the logits of the labels after the assistant's
header). Two things go beyond it: prompts are read in batches, and an option may have several
tokens, whose log-probabilities are summed; the pipeline takes single-token labels one prompt at a
time. Legend: B prompts, T tokens, V vocabulary, N continuations of several tokens.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from transformers import DynamicCache

from zephyrctl.data.messages import Message
from zephyrctl.data.tokens import encode_prompts
from zephyrctl.data.tokens.rendering import conversation, render
from zephyrctl.errors import EnvironmentProblem, JobFailed
from zephyrctl.generation.engine import Engine
from zephyrctl.runs.signals import raise_if_stopping


@dataclass(frozen=True)
class Query:
    """One prompt and what may follow it.

    `ids` are the tokens that stand before every option: the prompt up to the assistant's header,
    and what all options begin with, such as `[[`. `tails` holds what each option adds to them.
    """

    ids: tuple[int, ...]
    tails: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class _Row:
    index: int
    query: Query


def query_of(tokenizer: Any, messages: Sequence[Message], options: Sequence[str]) -> Query:
    """How a judge with this tokenizer would write each option as its whole answer.

    The options are tokenized behind the rendered prompt, so that no token is split otherwise than
    in a real answer. Tokens that all options end with are left out where the rest still tells
    the options apart: `]]` goes for A, B and C, and stays for 1 and 10.
    """
    (prompt,) = render(tokenizer, [conversation(messages)], open_turn=True)
    texts = [prompt.text + option for option in options]
    written = tokenizer(texts, add_special_tokens=False)["input_ids"]
    shared = _common(written)
    tails = [ids[shared:] for ids in written]
    ending = _common([tail[::-1] for tail in tails])
    short = [tail[: len(tail) - ending] for tail in tails]
    if ending and _tell_apart(short):
        tails = short
    return Query(tuple(written[0][:shared]), tuple(map(tuple, tails)))


def prompt_lengths(tokenizer: Any, prompts: Sequence[Sequence[Message]]) -> list[int]:
    """Tokens of each prompt."""
    return [len(ids) for ids in encode_prompts(tokenizer, prompts)]


def score_options(
    engine: Engine,
    queries: Sequence[Query],
    *,
    batch_size: int,
    on_scores: Callable[[int, list[float]], None],
) -> None:
    """The natural log-probability of every option: `on_scores(index, values)`, in any order.

    Prompts of like length share a batch, the longest first.
    """
    for rows in _batches(queries, batch_size):
        raise_if_stopping()
        for row, values in zip(rows, _score(engine, rows), strict=True):
            on_scores(row.index, values)


def top_tokens(
    engine: Engine,
    prompts: Sequence[Sequence[int]],
    *,
    count: int,
    batch_size: int,
    on_scores: Callable[[int, dict[str, float]], None],
) -> None:
    """The `count` most probable first tokens with their natural log-probabilities, best first.

    Of tokens that read alike the most probable counts.
    """
    for rows in _batches([Query(tuple(ids), ()) for ids in prompts], batch_size):
        raise_if_stopping()
        logps, _ = _read(engine, rows, keep_cache=False)
        values, tokens = torch.topk(logps, min(count, logps.shape[-1]), dim=-1)
        for row, row_values, row_tokens in zip(rows, values.tolist(), tokens.tolist(), strict=True):
            found: dict[str, float] = {}
            for token, value in zip(row_tokens, row_values, strict=True):
                found.setdefault(engine.tokenizer.decode([token]), value)
            on_scores(row.index, found)


def _batches(queries: Sequence[Query], batch_size: int) -> Iterator[list[_Row]]:
    rows = [_Row(index, query) for index, query in enumerate(queries)]
    rows.sort(key=lambda row: (-len(row.query.ids), row.index))
    for start in range(0, len(rows), batch_size):
        yield rows[start : start + batch_size]


@torch.inference_mode()
def _score(engine: Engine, rows: Sequence[_Row]) -> list[list[float]]:
    """The log-probabilities of every row's options."""
    long = [
        (place, tail) for place, row in enumerate(rows) for tail in row.query.tails if len(tail) > 1
    ]
    logps, cache = _read(engine, rows, keep_cache=bool(long))
    more: dict[tuple[int, tuple[int, ...]], float] = {}
    if long:
        more = dict(zip(long, _continue(engine, rows, long, cache), strict=True))
    return [
        _ended(
            row.query.tails,
            [
                float(logps[place, tail[0]]) + more.get((place, tail), 0.0)
                for tail in row.query.tails
            ],
        )
        for place, row in enumerate(rows)
    ]


def _ended(tails: Sequence[tuple[int, ...]], values: Sequence[float]) -> list[float]:
    """The log-probability of each tail and then no longer one.

    A tokenizer that splits numbers into digits writes 10 as 1 and 0: what it gives the first digit
    is for both, and the 10's part is taken from the 1's.
    """
    found = list(values)
    for longer, value in zip(tails, values, strict=True):
        begun = [place for place, tail in enumerate(tails) if tail == longer[: len(tail)]]
        begun = [place for place in begun if len(tails[place]) < len(longer)]
        if begun:
            place = max(begun, key=lambda place: len(tails[place]))
            part = math.exp(value - values[place])
            rest = math.exp(found[place] - values[place]) - part
            found[place] = values[place] + math.log(rest) if rest > 0 else -math.inf
    return found


@torch.inference_mode()
def _read(
    engine: Engine, rows: Sequence[_Row], *, keep_cache: bool
) -> tuple[torch.Tensor, DynamicCache | None]:
    """Log-probabilities (B, V) in float32 of the token after each prompt, and what was read."""
    ids, mask = _padded([row.query.ids for row in rows], engine)
    cache = DynamicCache(config=engine.model.config) if keep_cache else None
    logits = _forward(engine, ids, mask, cache, last_only=True)
    return torch.log_softmax(logits[:, -1].float(), dim=-1), cache


def _continue(
    engine: Engine,
    rows: Sequence[_Row],
    tails: Sequence[tuple[int, tuple[int, ...]]],
    cache: DynamicCache | None,
) -> list[float]:
    """The log-probability of each tail after its first token, from the prompts read in `cache`.

    `tails` are (row, tokens).
    """
    assert cache is not None
    places = torch.tensor([place for place, _ in tails], device=engine.device)
    cache.reorder_cache(cast("torch.LongTensor", places))
    width = max(len(tail) - 1 for _, tail in tails)
    pad = engine.tokenizer.pad_token_id
    inputs = [[*tail[:-1], *[pad] * (width - len(tail) + 1)] for _, tail in tails]
    ids = torch.tensor(inputs, device=engine.device)  # (N, T'), padded on the right
    _, mask = _padded([row.query.ids for row in rows], engine)
    # Padding on the right is read after the tokens that count, so that it need not be hidden.
    mask = torch.cat([mask[places], mask.new_ones(ids.shape)], dim=1)
    logps = torch.log_softmax(_forward(engine, ids, mask, cache).float(), dim=-1)
    return [
        sum(float(logps[place, at, token]) for at, token in enumerate(tail[1:]))
        for place, (_, tail) in enumerate(tails)
    ]


def _forward(
    engine: Engine,
    ids: torch.Tensor,
    mask: torch.Tensor,
    cache: DynamicCache | None,
    *,
    last_only: bool = False,
) -> torch.Tensor:
    """Logits (B, T, V) after the new `ids` (B, T), with T = 1 for `last_only` where the model can;
    `mask` also covers what `cache` holds."""
    arguments: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
    accepted = inspect.signature(engine.model.forward).parameters
    if "position_ids" in accepted:
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
        arguments["position_ids"] = positions[:, -ids.shape[1] :]
    if last_only and "logits_to_keep" in accepted:
        arguments["logits_to_keep"] = 1
    try:
        out = engine.model(**arguments, past_key_values=cache, use_cache=cache is not None)
    except torch.OutOfMemoryError as error:
        raise EnvironmentProblem(
            f"the accelerator's memory is too small to judge {len(ids)} answers at once",
            hint="--set eval.batch_size=1",
        ) from error
    if torch.isnan(out.logits[:, -1]).any():
        raise JobFailed("the judge's output is not a number", where=engine.path)
    return out.logits


def _padded(prompts: Sequence[Sequence[int]], engine: Engine) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask (B, T), padded on the left so that every prompt ends at the same column."""
    width = max(map(len, prompts))
    pad = engine.tokenizer.pad_token_id
    ids = [[pad] * (width - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, device=engine.device), torch.tensor(mask, device=engine.device)


def _common(sequences: Sequence[Sequence[int]]) -> int:
    """How many tokens all sequences begin with, leaving each at least one."""
    limit = min(map(len, sequences)) - 1
    for place in range(limit):
        if len({sequence[place] for sequence in sequences}) > 1:
            return place
    return max(limit, 0)


def _tell_apart(tails: Sequence[Sequence[int]]) -> bool:
    """Whether no tail is the beginning of another."""
    return not any(
        list(a) == list(b[: len(a)])
        for place, a in enumerate(tails)
        for other, b in enumerate(tails)
        if place != other
    )
